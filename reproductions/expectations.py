"""Biases of the biased estimators on the embedded models with 8 bits and 4 x 3 symbols: for docs/estimators.md.

    python reproductions/expectations.py    # about ten minutes on one core; writes reproductions/expectations.json

The models and the 32 images are those of `reproductions/laboratory.py`. What depends on the drawn states alone is
summed over them: `StraightThrough` and `ReinMax` over the states of z, the wake update of `RWS` over all tuples of
four; `GumbelRao`, and so straight-through Gumbel-softmax, which has the same expectation, with the noise behind each
state averaged over 10,000 draws. The others are averages over 100,000 draws for each image. The reference is exact.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

import reparam as rp
from reparam.distributions.enumeration import joint_support
from reparam.draws import score
from reparam.estimators.straight_through import _StraightThrough
from reparam.factors import Factors, factors_of
from reparam.laboratory.comparison import compare
from reparam.laboratory.embedded import embedded_model
from reparam.laboratory.exact import expected_log_mean, state_scores
from reparam.laboratory.meter import flat
from reparam.laboratory.reference import References

RESULTS = Path(__file__).with_suffix(".json")
TEMPERATURES = (1.0, 0.5, 0.25, 0.1)
LATENTS: tuple[Literal["bernoulli", "categorical"], ...] = ("bernoulli", "categorical")
BLOCKS, COPIES, DRAWS, CONDITIONAL = 40, 250, 100_000, 50


@dataclass(frozen=True, eq=False)
class Listed(Factors):
    """Factors whose draws are all states, `[S, B, *event]`, one after another."""

    states: Tensor | None = None

    def perturbed(self, num_samples: int) -> Tensor:
        """Noisy logits that `harden` to the states."""
        assert self.states is not None
        return self.states * 2 - 1


def summed(estimator: _StraightThrough, model: rp.VAE, x: Tensor) -> Tensor:
    """The loss with the likelihood's expectation over z as a sum over states, each with the estimator's gradient."""
    posterior = model.posterior(x)
    states = joint_support(model.prior()).to(x.dtype)
    states = states.unsqueeze(1).expand(-1, len(x), *states.shape[1:])
    found = factors_of(posterior, str(estimator), instead="")
    temperature = estimator.temperature
    assert not callable(temperature)
    z = estimator._sample(Listed(found.logits, found.binary, found.dtype, states), len(states), temperature)
    samples = score(model, x, z.to(x.dtype), posterior)
    share = posterior.log_prob(states).detach().exp()
    return -((share * samples.log_likelihood).sum(0) - samples.kl).mean()


def woken(num_samples: int, model: rp.VAE, x: Tensor) -> Tensor:
    """The loss of the posterior in `RWS`, with the expectation of its self-normalized weights over all tuples."""
    log_weight, log_q = state_scores(model, x)
    _, shares, _ = expected_log_mean(log_weight.detach(), log_q.detach(), num_samples)
    return -(shares * log_q).sum(0).mean()


def loss_of(estimator: rp.Estimator, model: rp.VAE, x: Tensor) -> Tensor:
    """The loss of one batch."""
    return estimator(model, x).loss


def blocks(loss: Callable[[], Tensor], parameters: list[nn.Parameter], calls: int) -> Tensor:
    """Mean gradients of `calls` losses in 40 blocks, `[40, P]`; in one of a single loss, which is exact."""
    count = BLOCKS if calls > 1 else 1
    total = torch.zeros(count, sum(p.numel() for p in parameters), dtype=torch.float64)
    for call in range(calls):
        total[call % count] += flat(torch.autograd.grad(loss(), parameters, allow_unused=True), parameters)
    return total / (calls / count)


def estimators() -> dict[str, tuple[rp.Estimator, str]]:
    """The biased estimators of the tables by name, each with how its expectation is found."""
    summed_up: list[rp.Estimator] = [rp.StraightThrough(1.0), rp.StraightThrough(2.0), rp.ReinMax(1.0), rp.RWS(4)]
    drawn: list[rp.Estimator] = [rp.WakeSleep(), rp.RWS(4, "both"), rp.TVO(4)]
    found = {str(each): (each, "states") for each in summed_up} | {str(each): (each, "draws") for each in drawn}
    for temperature in TEMPERATURES:
        for each in (rp.Relaxed(temperature), rp.Relaxed(temperature, kl="relaxed")):
            found[str(each)] = (each, "draws")
        averaged = rp.GumbelRao(temperature, num_conditional=CONDITIONAL)
        found[str(rp.GumbelRao(temperature))] = (averaged, "states and noise")
    return found


def bias_of(
    estimator: rp.Estimator, how: str, model: rp.VAE, x: Tensor, parameters: list[nn.Parameter], target: Tensor
) -> dict[str, Any]:
    """The bias relative to the exact gradient, its error, and how it was found."""
    torch.manual_seed(1)
    loss, calls = partial(loss_of, estimator, model, x.repeat(COPIES, 1)), DRAWS // COPIES
    if isinstance(estimator, _StraightThrough):
        loss, calls = partial(summed, estimator, model, x), 1 if how == "states" else 10_000 // CONDITIONAL
    elif isinstance(estimator, rp.RWS) and how == "states":
        loss, calls = partial(woken, 4, model, x), 1
    means = blocks(loss, parameters, calls)
    found = compare(means, target)
    exact = how == "states"
    values = {"bias": found.bias, "bias_error": 0.0 if exact else found.bias_error}
    return {**{k: float(f"{v:.5g}") for k, v in values.items()}, "biased": found.seen or exact, "how": how}


def main() -> None:
    torch.set_num_threads(1)
    results: dict[str, Any] = {"about": {"torch": torch.__version__, "command": "python reproductions/expectations.py"}}
    for latent in LATENTS:
        model, x = embedded_model(latent)
        model.eval()
        parameters = list(model.encoder.parameters())
        references = References(model, x, parameters, 20)
        found: dict[str, Any] = {}
        for name, (estimator, how) in estimators().items():
            target = references.of(estimator, estimator(model, x).name).blocks
            assert target is not None
            found[name] = bias_of(estimator, how, model, x, parameters, target)
            print(latent, name, found[name], flush=True)
            if isinstance(estimator, rp.GumbelRao):  # one expectation, two estimators
                found[str(rp.Relaxed(estimator.temperature, straight_through=True))] = found[name]
        results[latent] = found
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
