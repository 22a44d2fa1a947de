"""The presets: experiments on MNIST that have a name, each with its description."""

from __future__ import annotations

from typing import Any, NoReturn

from reparam._nearest import nearest
from reparam.experiment.config import Experiment


class _Presets(dict[str, Experiment]):
    """The experiments by name."""

    def __missing__(self, name: str) -> NoReturn:
        raise ValueError(f"there is no preset {name!r}. {nearest(str(name), self)}".rstrip())


def _preset(description: str, **options: Any) -> Experiment:
    return Experiment(description).replace(**options)


_SURROGATE = "Relaxed(temperature=exponential(1.0, 0.1, rate=3e-5))"
_EXAMPLES = {
    "vae": _preset("20 Gaussian latents, 784-400-20-400-784, Adam, as in vae.py"),
    "gaussian": _preset("20 Gaussian latents, the same as vae, as in gaussian_vae.py"),
    "binconcrete": _preset(
        "20 bits, trained on the literature's surrogate: Concrete sample, exact KL; as in binconcrete.py",
        latent="Bernoulli(20)",
        estimator=_SURROGATE,
    ),
    "concrete": _preset(
        "20 symbols of 10, trained on the literature's surrogate: Gumbel-softmax, exact KL; as in concrete.py",
        latent="Categorical(20, 10)",
        estimator=_SURROGATE,
    ),
}

# Every other estimator on a latent that it takes, in the setting of the examples.
_GAUSSIAN = {
    "stl": ("Pathwise(gradient='stl')", "sticking the landing, Roeder et al. 2017"),
}
_BERNOULLI = {
    "rloo": ("RLOO(4)", "each of four draws against the mean of the others; trained as what they are"),
    "relaxed": ("Relaxed(0.5, kl='relaxed')", "a relaxed model with its own KL, Maddison et al. 2016"),
    "straight-through-gumbel": ("Relaxed(0.5, straight_through=True)", "rounded relaxed draws, Jang et al. 2016"),
    "straight-through": ("StraightThrough()", "hard draws with the gradient of their means, Bengio et al. 2013"),
    "gumbel-rao": ("GumbelRao(0.5)", "straight-through Gumbel, its noise averaged, Paulus et al. 2020"),
    "reinmax": ("ReinMax()", "straight-through of second order, Liu et al. 2023"),
    "reinforce": ("REINFORCE()", "the score function with a running average, Paisley et al. 2012"),
    "nvil": ("NVIL(mlp(784, [100], 1))", "the score function with a learned baseline, Mnih, Gregor 2014"),
    "unordered-set": ("UnorderedSet(4)", "four distinct draws, Kool et al. 2020"),
    "arm": ("ARM()", "antithetic pairs of draws, Yin, Zhou 2018"),
    "disarm": ("DisARM()", "antithetic pairs of draws with less variance, Dong et al. 2020"),
    "muprop": ("MuProp()", "the score function less a first-order expansion, Gu et al. 2015"),
    "rebar": ("REBAR()", "a relaxed control variate with a learned temperature, Tucker et al. 2017"),
    "relax": ("RELAX(mlp(20 + 784, [100], 1, Tanh))", "a learned control variate, Grathwohl et al. 2017"),
    "local-expectation": ("LocalExpectation()", "each bit summed over in turn, 21 decodings, Titsias et al. 2015"),
    "vimco": ("VIMCO(4)", "the importance-weighted bound of four draws, Mnih, Rezende 2016"),
    "tvo": ("TVO(8)", "the thermodynamic bound of eight draws, Masrani et al. 2019"),
    "wake-sleep": ("WakeSleep()", "the encoder learns from the decoder's dreams, Hinton et al. 1995"),
    "rws": ("RWS(8)", "reweighted wake-sleep, Bornschein, Bengio 2014"),
}
_CATEGORICAL = {
    "rloo": _BERNOULLI["rloo"],
    "disarm-tree": ("DisARMTree()", "antithetic pairs down a tree of choices, Dong et al. 2021"),
    "straight-through-gumbel": _BERNOULLI["straight-through-gumbel"],
    "reinmax": _BERNOULLI["reinmax"],
}


def _of(kind: str, latent: str, words: str, estimators: dict[str, tuple[str, str]]) -> dict[str, Experiment]:
    return {
        f"{kind}-{name}": _preset(f"{words}: {what}", latent=latent, estimator=estimator)
        for name, (estimator, what) in estimators.items()
    }


_ESTIMATORS = {
    **_of("gaussian", "Gaussian(20)", "20 Gaussian latents", _GAUSSIAN),
    **_of("bernoulli", "Bernoulli(20)", "20 bits", _BERNOULLI),
    "bernoulli-enumerate": _preset(
        "8 bits: all 256 states summed over, so the exact gradient", latent="Bernoulli(8)", estimator="Enumerate()"
    ),
    **_of("categorical", "Categorical(20, 10)", "20 symbols of 10", _CATEGORICAL),
}


def _iwae(estimator: str, description: str) -> Experiment:
    network = {"latent": "Gaussian(50)", "hidden": (200, 200), "activation": "tanh", "output_bias": True}
    training = {"protocol": "dynamic", "epochs": 20, "batch_size": 100, "lr": "cosine(1e-3, steps)"}
    return _preset(f"50 Gaussian latents, 784-200-200-50: {description}", estimator=estimator, **network, **training)


_IWAE = {
    "iwae-5": _iwae("Pathwise(5, iwae)", "the importance-weighted bound of 5 draws, Burda et al. 2015"),
    "iwae-50": _iwae("Pathwise(50, iwae)", "the importance-weighted bound of 50 draws, Burda et al. 2015"),
    "iwae-50-dreg": _iwae(
        "Pathwise(50, iwae, gradient='dreg')", "the same, doubly reparameterised, Tucker et al. 2018"
    ),
}


def _tuned(latent: str, estimator: str, peak_lr: str, description: str, **options: Any) -> Experiment:
    """A decoder that begins at the data's mean, a learning rate that warms up and falls along a cosine."""
    lr = f"cosine({peak_lr}, steps, warmup=min(500, steps // 4))"
    how = {"output_bias": True, "optimizer": "adamw"}
    return _preset(description, latent=latent, estimator=estimator, lr=lr, **how, **options)


_TUNED = {
    "bernoulli-10-epochs": _tuned("Bernoulli(20)", "RLOO(8)", "7e-3", "20 bits, well in ten epochs: exact all along"),
    "categorical-10-epochs": _tuned(
        "Categorical(20, 10)",
        "Stages((0, Relaxed(geometric(1.0, 0.2, steps))), (round(0.6 * steps), RLOO(8)))",
        "5e-3",
        "20 symbols of 10, well in ten epochs: relaxed at a falling temperature, then exact",
    ),
    "bernoulli-5-minutes": _tuned(
        "Bernoulli(20)",
        "Stages((0, Relaxed(geometric(1.0, 0.1, steps))), (round(0.85 * steps), RLOO(4)))",
        "5e-3",
        "20 bits, better: relaxed at a falling temperature, then exact; about five minutes on one core",
        **{"epochs": 105, "weight_decay": 0.05},
    ),
    "categorical-5-minutes": _tuned(
        "Categorical(20, 10)",
        "Relaxed(geometric(1.0, 0.1, steps))",
        "5e-3",
        "20 symbols of 10, better: relaxed at a falling temperature; about five minutes on one core",
        epochs=100,
    ),
}

presets: dict[str, Experiment] = _Presets({**_EXAMPLES, **_TUNED, **_IWAE, **_ESTIMATORS})
