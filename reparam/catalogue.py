"""Every estimator of the library with what is known of it: the laboratory's list, and the docs' tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from reparam.bounds import iwae
from reparam.distributions.enumeration import joint_support
from reparam.estimators import (
    ARM,
    NVIL,
    REBAR,
    REINFORCE,
    RELAX,
    RLOO,
    RWS,
    TVO,
    VIMCO,
    DisARM,
    DisARMTree,
    Enumerate,
    Estimator,
    GumbelRao,
    LocalExpectation,
    MuProp,
    Pathwise,
    ReinMax,
    Relaxed,
    StraightThrough,
    UnorderedSet,
    WakeSleep,
)
from reparam.inspection import evaluating
from reparam.model import LatentVariableModel
from reparam.networks import mlp

BITS, SYMBOLS, REALS = "Bernoulli", "Categorical", "reparameterised"
DISCRETE, ANY = (BITS, SYMBOLS), (BITS, SYMBOLS, REALS, "other")


@dataclass(frozen=True)
class Entry:
    """One estimator with one choice of its arguments.

    Attributes:
        name: as it is written in Python.
        make: builds it, from the numbers of one latent and the shape of one x.
        latents: which kinds it takes.
        bias: "none" and the bound whose gradient it estimates, or where its bias comes from.
        reference: authors, year, arXiv number.
        group: what kind of estimator it is.
    """

    name: str
    make: Callable[[int, tuple[int, ...]], Estimator]
    latents: tuple[str, ...]
    bias: str
    reference: str
    group: str


def _entry(estimator: Estimator, latents: tuple[str, ...], bias: str, reference: str, group: str) -> Entry:
    return Entry(str(estimator), lambda *_: estimator, latents, bias, reference, group)


def _nvil(_: int, x_shape: tuple[int, ...]) -> Estimator:
    return NVIL(mlp(x_shape, [100], 1))


def _relax(num_features: int, x_shape: tuple[int, ...]) -> Estimator:
    num_pixels = 1
    for size in x_shape:
        num_pixels *= size
    return RELAX(mlp(num_features + num_pixels, [100], 1, nn.Tanh))


ELBO = "none (ELBO)"
SCORE, PATH, SOFT, EXACT, WAKE = "score function", "pathwise", "relaxed", "exact", "wake-sleep"
ENTRIES = [
    Entry("REINFORCE(baseline='none')", lambda *_: REINFORCE(baseline="none"), ANY, ELBO, "Williams 1992", SCORE),
    Entry("REINFORCE()", lambda *_: REINFORCE(), ANY, ELBO, "Paisley et al. 2012, 1206.6430", SCORE),
    Entry("NVIL(network)", _nvil, ANY, ELBO, "Mnih, Gregor 2014, 1402.0030", SCORE),
    _entry(RLOO(2), ANY, ELBO, "Kool et al. 2019", SCORE),
    _entry(RLOO(4), ANY, ELBO, "Kool et al. 2019", SCORE),
    _entry(RLOO(8), ANY, ELBO, "Kool et al. 2019", SCORE),
    _entry(UnorderedSet(4), DISCRETE, ELBO, "Kool et al. 2020, 2002.06043", SCORE),
    _entry(ARM(), (BITS,), ELBO, "Yin, Zhou 2018, 1807.11143", SCORE),
    _entry(DisARM(), (BITS,), ELBO, "Dong et al. 2020, 2006.10680", SCORE),
    _entry(DisARM(2), (BITS,), ELBO, "Dong et al. 2020, 2006.10680", SCORE),
    _entry(DisARMTree(), (SYMBOLS,), ELBO, "Dong et al. 2021, 2106.08056", SCORE),
    _entry(DisARMTree(2), (SYMBOLS,), ELBO, "Dong et al. 2021, 2106.08056", SCORE),
    _entry(MuProp(), DISCRETE, ELBO, "Gu et al. 2015, 1511.05176", SCORE),
    Entry("REBAR(temperature=0.5)", lambda *_: REBAR(), DISCRETE, ELBO, "Tucker et al. 2017, 1703.07370", SCORE),
    Entry("RELAX(network, temperature=0.5)", _relax, DISCRETE, ELBO, "Grathwohl et al. 2017, 1711.00123", SCORE),
    _entry(VIMCO(4), ANY, "none (IWAE-4)", "Mnih, Rezende 2016, 1602.06725", SCORE),
    _entry(VIMCO(4, "arithmetic"), ANY, "none (IWAE-4)", "Mnih, Rezende 2016, 1602.06725", SCORE),
    _entry(TVO(4), ANY, "order 1/K", "Masrani et al. 2019, 1907.00031", SCORE),
    _entry(Pathwise(), (REALS,), ELBO, "Kingma, Welling 2013, 1312.6114", PATH),
    _entry(Pathwise(8), (REALS,), ELBO, "Kingma, Welling 2013, 1312.6114", PATH),
    _entry(Pathwise(gradient="stl"), (REALS,), ELBO, "Roeder et al. 2017, 1703.09194", PATH),
    _entry(Pathwise(4, iwae), (REALS,), "none (IWAE-4)", "Burda et al. 2015, 1509.00519", PATH),
    _entry(Pathwise(4, iwae, gradient="dreg"), (REALS,), "none (IWAE-4)", "Tucker et al. 2018, 1810.04152", PATH),
    _entry(
        Relaxed(0.5, kl="relaxed"), DISCRETE, "of the relaxed KL, at any T", "Maddison et al. 2016, 1611.00712", SOFT
    ),
    _entry(Relaxed(0.5), DISCRETE, "of the relaxed sample, falls with T", "Jang et al. 2016, 1611.01144", SOFT),
    _entry(Relaxed(0.5, straight_through=True), DISCRETE, "straight-through", "Jang et al. 2016, 1611.01144", SOFT),
    _entry(GumbelRao(0.5), DISCRETE, "straight-through", "Paulus et al. 2020, 2010.04838", SOFT),
    _entry(StraightThrough(), DISCRETE, "straight-through", "Bengio et al. 2013, 1308.3432", SOFT),
    _entry(StraightThrough(2.0), DISCRETE, "straight-through", "Shah et al. 2024, 2410.13331 (two temperatures)", SOFT),
    _entry(ReinMax(), DISCRETE, "third order", "Liu et al. 2023, 2304.08612", SOFT),
    _entry(Enumerate(), DISCRETE, ELBO, "a sum", EXACT),
    _entry(LocalExpectation(), DISCRETE, ELBO, "Titsias, Lazaro-Gredilla 2015, 1503.01494", EXACT),
    _entry(WakeSleep(), ANY, "another objective for q", "Hinton et al. 1995", WAKE),
    _entry(RWS(4), ANY, "another objective for q", "Bornschein, Bengio 2014, 1406.2751", WAKE),
    _entry(RWS(4, "both"), ANY, "another objective for q", "Bornschein, Bengio 2014, 1406.2751", WAKE),
]


def estimators_for(model: LatentVariableModel, x: Tensor, *, max_states: int = 256) -> dict[str, Estimator]:
    """Every estimator of the catalogue that takes the model, by name, ready to be tried.

    Which ones do is found out by calling each on two examples: it depends on posterior, prior and their KL together.
    Those with networks of their own (NVIL, RELAX) are made with the surrounding random numbers.

    Args:
        model: any model.
        x: a batch.
        max_states: `Enumerate` is among them where the latent has at most so many states.

    Example:
        >>> import reparam as rp
        >>> import torch
        >>> model = rp.VAE(rp.Gaussian(2), rp.Bernoulli(4), rp.mlp(4, [8], 4), rp.mlp(2, [8], 4))
        >>> list(estimators_for(model, torch.rand(5, 4)))[-5:-3]
        ['Pathwise(num_samples=4, bound=iwae)', "Pathwise(num_samples=4, bound=iwae, gradient='dreg')"]
    """
    num_features, x_shape = model.prior().event_shape.numel(), tuple(x.shape[1:])
    listed, exact = _is_small(model, max_states), str(Enumerate())
    entries = [entry for entry in ENTRIES if listed or entry.name != exact]
    with evaluating(model, seed=0):
        RLOO(2)(model, x[:2])  # takes any model: what is wrong with this one is said here
        taken = [entry for entry in entries if _takes(entry.make(num_features, x_shape), model, x[:2])]
    return {entry.name: entry.make(num_features, x_shape) for entry in taken}


def _takes(estimator: Estimator, model: LatentVariableModel, x: Tensor) -> bool:
    try:
        estimator(model, x)
    except (TypeError, ValueError):  # its refusals
        return False
    return True


def _is_small(model: LatentVariableModel, max_states: int) -> bool:
    try:
        joint_support(model.prior(), max_states=max_states)
    except (TypeError, ValueError, NotImplementedError):  # torch lists no states of Binomials of different counts
        return False
    return True
