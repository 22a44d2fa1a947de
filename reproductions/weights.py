"""Claimed and actual errors of `rp.evaluate` where log p(x) is known: the table of docs/evaluation.md.

    python reproductions/weights.py    # about five minutes; writes reproductions/weights.json

p(z) = N(0, 1), p(x|z) = N(z, 1), posterior N(x/2, scale^2), x = 0: the weights' tail has k = 1 - 2 scale^2. 200
examples, 240 seeds; `claimed` is the root mean square of the Monte Carlo errors, `actual` the standard deviation over
the seeds.
"""

import json
import math
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

import reparam as rp

RESULTS = Path(__file__).with_suffix(".json")
SCALES, SAMPLES, EXAMPLES, SEEDS = (0.1, 0.3, 0.4, 0.5, 0.6, 0.9), (2, 3, 16, 100, 1000), 200, 240


class Narrow(nn.Module):
    """A linear Gaussian model with a posterior of the right mean and another scale."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def prior(self) -> Distribution:
        return Independent(Normal(torch.zeros(1), 1.0), 1)

    def posterior(self, x: Tensor) -> Distribution:
        return Independent(Normal(x / 2, self.scale), 1)

    def likelihood(self, z: Tensor) -> Distribution:
        return Independent(Normal(z, 1.0), 1)


def row(scale: float, num_samples: int) -> dict[str, Any]:
    """What was claimed and what was so, at one scale and number of samples."""
    truth = Normal(0.0, math.sqrt(2)).log_prob(torch.tensor(0.0)).item()
    x, model = torch.zeros(EXAMPLES, 1), Narrow(scale)
    runs = [
        rp.evaluate(model, x, num_samples=num_samples, batch_size=EXAMPLES, max_rows=20_000, seed=seed)
        for seed in range(SEEDS)
    ]
    found: dict[str, Any] = {"scale": scale, "k": 1 - 2 * scale**2, "num_samples": num_samples}
    for name in ("elbo", "iwae", "log_likelihood"):
        values = torch.tensor([getattr(run, name).value for run in runs], dtype=torch.float64)
        errors = torch.tensor([getattr(run, name).monte_carlo_error for run in runs], dtype=torch.float64)
        figures = {
            "distance": values.mean() - truth,
            "claimed": errors.square().mean().sqrt(),
            "actual": values.std(),
        }
        found[name] = {key: None if value.isnan() else float(f"{value.item():.4g}") for key, value in figures.items()}
    shares = [run.unreliable for run in runs if run.unreliable is not None]
    found["unreliable"] = round(sum(shares) / len(shares), 4) if shares else None
    return found


def main() -> None:
    warnings.simplefilter("ignore", rp.UnreliableWeights)
    rows = [row(scale, num_samples) for scale in SCALES for num_samples in SAMPLES]
    about = {"torch": torch.__version__, "command": "python reproductions/weights.py"}
    RESULTS.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
