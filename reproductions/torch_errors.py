"""What torch's distributions get wrong, and what ours make of it: errors of log-probabilities, in nats, in float32.

    python reproductions/torch_errors.py    # a few seconds; results in torch_errors.json

Each is judged by SciPy in float64 at the very draws, or by an integral.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.special
import scipy.stats
import torch
from torch import Tensor
from torch import distributions as theirs
from torch.distributions import Distribution

from reparam import distributions as ours

DRAWS = 20_000


def integral(make: Callable[[Tensor], Distribution]) -> str:
    """Of a density on [0, 1], at three logits."""
    x = torch.linspace(0, 1, 200_001)[:, None]
    density = make(torch.tensor([20.0, 40.0, 100.0])).log_prob(x).double().exp()
    return ", ".join(f"{value:.3f}" for value in torch.trapezoid(density, x.double(), dim=0))


def unscorable(distribution: Distribution) -> str:
    """The share of its own draws whose log-density is not finite."""
    share = 1 - distribution.log_prob(distribution.sample((DRAWS,))).isfinite().double().mean().item()
    return f"{100 * share:.1f} %" if share else "none"


def worst(distribution: Distribution, exact: Callable[[np.ndarray], np.ndarray]) -> str:
    """The largest error over draws."""
    x = distribution.sample((DRAWS,))
    return f"{np.abs(distribution.log_prob(x).double().numpy() - exact(x.double().numpy())).max():.2g}"


def rows() -> list[list[str]]:
    """What was measured, torch's, ours."""
    torch.manual_seed(1)
    a, b = (torch.empty(200).uniform_(-3, 3).exp() for _ in range(2))
    many, mean, dispersion = torch.tensor(1e6), torch.tensor(5.0), 1e-6
    share, shares = 1e6 * np.ones(4), torch.full((4,), 1e6)
    poisson, count = scipy.stats.poisson(1e6), scipy.stats.nbinom(1 / dispersion, 1 / (1 + 5 * dispersion))
    logits = (mean * dispersion).log()
    angle = scipy.stats.vonmises(1e6)
    kappa, symbols = torch.tensor(1e6), torch.randn(10)

    def dirichlet(x: np.ndarray) -> np.ndarray:
        x = x / x.sum(-1, keepdims=True)
        constant = scipy.special.gammaln(share.sum()) - scipy.special.gammaln(share).sum()
        return np.asarray(constant + ((share - 1) * np.log(x)).sum(-1))

    return [
        [
            "continuous Bernoulli: integral at logits 20, 40, 100",
            integral(lambda logits: theirs.ContinuousBernoulli(logits=logits)),
            integral(ours.ContinuousBernoulli),
        ],
        [
            "Kumaraswamy, parameters e^-3 to e^3: own draws that cannot be scored",
            unscorable(theirs.Kumaraswamy(a, b, validate_args=False)),
            unscorable(ours.Kumaraswamy(a, b)),
        ],
        [
            "relaxed categorical, 10 normal logits, temperature 0.05: own draws that cannot be scored",
            unscorable(theirs.RelaxedOneHotCategorical(torch.tensor(0.05), logits=symbols, validate_args=False)),
            unscorable(ours.LogRelaxedCategorical(0.05, symbols)),
        ],
        [
            "Poisson, rate 1e6: largest error",
            worst(theirs.Poisson(many), poisson.logpmf),
            worst(ours.Poisson(many.log()), poisson.logpmf),
        ],
        [
            "negative binomial, mean 5, dispersion 1e-6: largest error",
            worst(theirs.NegativeBinomial(torch.tensor(1 / dispersion), logits=logits), count.logpmf),
            worst(ours.NegativeBinomial(mean.log(), torch.tensor(dispersion).log()), count.logpmf),
        ],
        [
            "Dirichlet, four concentrations of 1e6: largest error",
            worst(theirs.Dirichlet(shares), dirichlet),
            worst(ours.Dirichlet(shares), dirichlet),
        ],
        [
            "von Mises, concentration 1e6: largest error",
            worst(theirs.VonMises(torch.tensor(0.0), kappa), angle.logpdf),
            worst(ours.VonMises(torch.tensor(0.0), kappa), angle.logpdf),
        ],
    ]


if __name__ == "__main__":
    found = {"about": {"torch": torch.__version__}, "rows": rows()}
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    for row in found["rows"]:
        print(*row, sep=" | ")
