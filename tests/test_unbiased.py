"""Every estimator that claims to be unbiased, against exact enumeration, on three models in float64.

A gradient is that of three examples, each repeated 64 times in the batch, so that one call averages 64 draws; 150 calls
make 9,600. The largest z-score over all coordinates is bounded for the number of coordinates and calls.
"""

import pytest
import torch
from helpers import LearnedPrior, TwoLevels, gradient, gradients, largest_z, small_vae
from torch import nn

import reparam as rp
from reparam import factors, surrogates
from reparam.estimators import control_variate, score_function
from reparam.surrogates import without_replacement

MODELS = {
    "Bernoulli(8)": lambda: small_vae(rp.Bernoulli(8)),
    "Categorical(4, 3)": lambda: small_vae(rp.Categorical(4, 3)),
    "LearnedPrior": LearnedPrior,
    "TwoLevels": TwoLevels,
}
NUM_FEATURES = {"Bernoulli(8)": 8, "Categorical(4, 3)": 12, "LearnedPrior": 5, "TwoLevels": 4}
ANY = list(MODELS)
FACTORISED = ANY[:3]
COINS = ["Bernoulli(8)", "LearnedPrior"]
ELBO = [
    (lambda n: rp.REINFORCE(2, "none"), ANY),
    (lambda n: rp.REINFORCE(), ANY),
    (lambda n: rp.NVIL(rp.mlp(6, [5], 1)), ANY),
    (lambda n: rp.RLOO(2), ANY),
    (lambda n: rp.RLOO(5), ANY),
    (lambda n: rp.TVO(3, (0.0,)), ANY),
    (lambda n: rp.ARM(), COINS),
    (lambda n: rp.DisARM(), COINS),
    (lambda n: rp.DisARM(3), COINS),
    (lambda n: rp.DisARMTree(), ["Categorical(4, 3)"]),
    (lambda n: rp.DisARMTree(2), ["Categorical(4, 3)"]),
    (lambda n: rp.MuProp(1), FACTORISED),
    (lambda n: rp.MuProp(3), FACTORISED),
    (lambda n: rp.REBAR(2, temperature=0.3, strength=0.7), FACTORISED),
    (lambda n: rp.RELAX(rp.mlp(n + 6, [5], 1, nn.Tanh)), FACTORISED),
    (lambda n: rp.UnorderedSet(2), FACTORISED),
    (lambda n: rp.UnorderedSet(4), FACTORISED),
    (lambda n: rp.LocalExpectation(), FACTORISED),
    (lambda n: rp.LocalExpectation(2), FACTORISED),
]
IWAE = [(lambda n: rp.VIMCO(2), ANY), (lambda n: rp.VIMCO(2, "arithmetic"), ANY)]
CALLS, COPIES = 150, 64


def cases(table):
    return [pytest.param(make, name, id=f"{make(1)}-{name}") for make, names in table for name in names]


def z_score(estimator, model, exact_estimator, calls=CALLS):
    x = torch.rand(3, 6)
    exact = gradient(exact_estimator(model, x).loss, model)
    return largest_z(gradients(estimator, model, x.repeat(COPIES, 1), calls), exact)


@pytest.mark.parametrize(("make", "name"), cases(ELBO))
def test_the_gradient_is_that_of_the_elbo(make, name, float64):
    z, limit = z_score(make(NUM_FEATURES[name]), MODELS[name](), rp.Enumerate())
    assert z < limit


@pytest.mark.parametrize(("make", "name"), cases(IWAE))
def test_the_gradient_is_that_of_the_importance_weighted_bound(make, name, float64):
    z, limit = z_score(make(0), MODELS[name](), rp.Enumerate(2, rp.iwae))
    assert z < limit


@pytest.mark.parametrize("name", FACTORISED)
@pytest.mark.parametrize("bound", [rp.beta_elbo(3.0), rp.free_bits(0.1)], ids=str)
def test_the_gradient_of_a_penalised_bound_is_its_own(name, bound, float64):
    for estimator in (rp.RLOO(3, bound), rp.MuProp(2, bound), rp.LocalExpectation(1, bound), rp.REBAR(1, bound=bound)):
        z, limit = z_score(estimator, MODELS[name](), rp.Enumerate(bound=bound), calls=60)
        assert z < limit


@pytest.mark.parametrize(("make", "name"), cases(ELBO[3:]))
def test_the_value_is_that_of_the_bound_too(make, name, float64):
    model, x = MODELS[name](), torch.rand(3, 6)
    estimator = make(NUM_FEATURES[name])
    values = torch.stack([estimator(model, x.repeat(50, 1)).bound.unflatten(0, (50, 3)).mean(0) for _ in range(40)])
    z, limit = largest_z(values, rp.Enumerate()(model, x).bound)
    assert z < limit


def test_rws_trains_the_generative_parameters_on_the_importance_weighted_bound(float64):
    model, x = small_vae(rp.Bernoulli(5)), torch.rand(3, 6)
    generative = torch.cat([torch.full((p.numel(),), "decoder" in name) for name, p in model.named_parameters()])
    exact = gradient(rp.Enumerate(2, rp.iwae)(model, x).loss, model)[generative]
    for update in ("wake", "both"):
        found = gradients(rp.RWS(2, update), model, x.repeat(COPIES, 1), CALLS)[:, generative]
        z, limit = largest_z(found, exact)
        assert z < limit


# Each line breaks one thing; the tests above must then fail, by far. (Not every slip is a bias: a baseline of the wrong
# sign, or a REBAR whose conditional noise ignores z, only cost variance, and these tests rightly pass them.)
GIVEN = factors.Factors.perturbed_given
FAULTS = [
    (
        "a baseline with its own sample in it",
        rp.RLOO(2),
        score_function,
        "advantage_over_others",
        lambda f: f - f.mean(0),
    ),
    ("the sign of the advantage", rp.RLOO(3), score_function, "advantage_over_others", lambda f: f.mean(0) - f),
    (
        "no gradient of log q in the weights",
        rp.VIMCO(2),
        score_function,
        "vimco",
        lambda w, q, m: surrogates.vimco(w + q - q.detach(), q, m),
    ),
    ("a missing factor 1/2", rp.DisARM(), surrogates, "disarm", lambda *a, f=surrogates.disarm: 2 * f(*a)),
    ("a missing factor 1/2", rp.ARM(), surrogates, "arm", lambda *a, f=surrogates.arm: f(*a) / 2),
    ("a remainder of the wrong size", rp.MuProp(2), control_variate, "_like", lambda v, z: 1.5 * v[..., None]),
    ("noise given the other z", rp.REBAR(), factors.Factors, "perturbed_given", lambda self, z: GIVEN(self, 1 - z)),
    (
        "sets taken for ordered draws",
        rp.UnorderedSet(3),
        without_replacement,
        "log_probability_of_set",
        lambda p: p.sum(0),
    ),
    ("states in the wrong order", rp.LocalExpectation(), factors.Factors, "from_states", lambda self, i: 1.0 - i),
]


@pytest.mark.parametrize(
    ("fault", "estimator", "module", "name", "wrong"), FAULTS, ids=[f"{f[0]}-{f[1]}" for f in FAULTS]
)
def test_a_fault_is_noticed(fault, estimator, module, name, wrong, float64, monkeypatch):
    exact = rp.Enumerate(2, rp.iwae) if isinstance(estimator, rp.VIMCO) else rp.Enumerate()
    model = small_vae(rp.Bernoulli(5))
    z, limit = z_score(estimator, model, exact)
    assert z < limit
    monkeypatch.setattr(module, name, wrong)
    z, limit = z_score(estimator, model, exact)
    assert z > 2 * limit
