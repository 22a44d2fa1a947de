"""Every estimator that claims to be unbiased, against exact enumeration, on three models in float64.

A gradient is that of three examples, each repeated 64 times in the batch, so that one call averages 64 draws; 150 calls
make 9,600. The largest z-score over all coordinates is bounded for the number of coordinates and calls.
"""

import pytest
import torch
from helpers import LearnedPrior, TorchLatent, TwoLevels, gradient, gradients, largest_z, small_vae
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


@pytest.mark.parametrize("kind", ["coins", "coin", "symbol"])
def test_torchs_own_distributions_with_or_without_independent_will_do(kind, float64):
    model = TorchLatent(kind)
    estimators = [
        rp.RLOO(2),
        rp.MuProp(),
        rp.REBAR(),
        rp.RELAX(rp.mlp(10 if kind == "symbol" else 9 if kind == "coins" else 7, [4], 1, nn.Tanh)),
        rp.UnorderedSet(2),
        rp.LocalExpectation(),
    ]
    estimators += [rp.DisARMTree()] if kind == "symbol" else [rp.DisARM(), rp.ARM()]
    for estimator in estimators:
        z, limit = z_score(estimator, model, rp.Enumerate(), calls=60)
        assert z < limit, estimator
    x = torch.rand(3, 6)
    for estimator in (rp.StraightThrough(), rp.GumbelRao(), rp.ReinMax()):
        assert gradient(estimator(model, x).loss, model).isfinite().all()


@pytest.mark.parametrize("mean", ["geometric", "arithmetic"])
def test_vimco_of_three_samples_by_enumeration_and_by_hand(mean, float64):
    z, limit = z_score(rp.VIMCO(3, mean), small_vae(rp.Bernoulli(3)), rp.Enumerate(3, rp.iwae))
    assert z < limit
    log_weight, log_q = torch.randn(3, 1), torch.zeros(3, 1, requires_grad=True)
    bound = rp.surrogates.vimco(log_weight, log_q, mean)
    (found,) = torch.autograd.grad(bound.sum(), log_q)
    w = log_weight.exp().squeeze()
    for k in range(3):
        others = torch.cat([w[:k], w[k + 1 :]])
        stand_in = others.log().mean().exp() if mean == "geometric" else others.mean()
        torch.testing.assert_close(found[k].item(), (w.mean().log() - ((others.sum() + stand_in) / 3).log()).item())
    log_weight[0] = -torch.inf  # an impossible sample has weight zero, and no NaN
    bound = rp.surrogates.vimco(log_weight, log_q, mean)
    assert torch.autograd.grad(bound.sum(), log_q)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("logits", [[0, 1, 2, 3], [2, 0, -36, -37], [0, -100, -200, -201]])
@pytest.mark.parametrize("num_samples", [2, 3, 4])
def test_the_unordered_set_of_a_constant_is_that_constant_however_peaked(dtype, logits, num_samples):
    log_probs = torch.tensor([[logits, logits[::-1]]], dtype=dtype).log_softmax(-1)
    states = rp.distributions.sample_without_replacement(log_probs, num_samples)
    assert len({tuple(state[0].tolist()) for state in states}) == num_samples
    log_q = log_probs.expand(num_samples, -1, -1, -1).gather(-1, states.unsqueeze(-1)).squeeze(-1).sum(-1)
    log_q.requires_grad_()
    outside = rp.distributions.log_outside_subsets(log_probs, states)
    value = rp.surrogates.unordered_set(torch.full((num_samples, 1), -100.0, dtype=dtype), log_q, outside)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(value, torch.full((1,), -100.0, dtype=dtype), rtol=0, atol=tolerance)
    (slope,) = torch.autograd.grad(value.sum(), log_q)
    assert slope.abs().max() < 10 * tolerance


def test_the_mass_outside_a_set_is_what_is_left(float64):
    log_probs = torch.randn(5, 2, 3).log_softmax(-1)
    states = rp.distributions.sample_without_replacement(log_probs, 3)
    log_q = log_probs.expand(3, -1, -1, -1).gather(-1, states.unsqueeze(-1)).squeeze(-1).sum(-1)
    outside = rp.distributions.log_outside_subsets(log_probs, states)
    for subset in range(8):
        left = 1 - sum(log_q[k].exp() for k in range(3) if subset >> k & 1)
        torch.testing.assert_close(outside[subset].exp(), left * torch.ones(5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sharpness", [0.5, 5.0, 40.0])
def test_the_mass_outside_a_set_keeps_the_digits_of_its_dtype(dtype, sharpness):
    log_probs = (sharpness * torch.randn(1, 3, 3)).to(dtype).log_softmax(-1)
    states = rp.distributions.sample_without_replacement(log_probs, 4)
    found = rp.distributions.log_outside_subsets(log_probs, states)[:, 0].double()
    every = torch.cartesian_prod(*[torch.arange(3)] * 3)
    mass = log_probs[0].double().gather(-1, every.T).sum(0).exp()  # of each of the 27 states
    chosen = (states[:, 0, None] == every).all(-1)
    for subset in range(16):
        members = [k for k in range(4) if subset >> k & 1]
        expected = mass[~chosen[members].any(0)].sum().log()
        torch.testing.assert_close(
            found[subset], expected, rtol=0, atol=32 * torch.finfo(dtype).eps * (1 + expected.abs()).item()
        )


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
        "_log_probability_of_the_rest",
        lambda p, outside: [p[0] * 0] * 8,
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
