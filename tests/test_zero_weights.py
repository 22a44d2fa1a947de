"""Weights of zero, log w = -inf: every bound, surrogate and estimator is the limit log w -> -inf, and never NaN."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import kl_divergence

import reparam as rp
from reparam import surrogates
from reparam.distributions import Bernoulli, LogitRelaxedBernoulli, LogRelaxedCategorical, OneHotCategorical

INF = math.inf
LOG2, LOG4 = math.log(2), math.log(4)
NEVER = rp.renyi(2.0)

# log-weights, and the bounds of them by hand
BY_HAND = [
    ([-INF], {}),
    ([-INF, -INF], {}),
    ([0.0, -INF], {rp.iwae: -LOG2, rp.renyi(0): -LOG2, rp.renyi(0.5): -2 * LOG2, rp.renyi(-1): -LOG2 / 2}),
    ([-INF, 0.0, -INF, -INF], {rp.iwae: -LOG4, rp.renyi(0): -LOG4, rp.renyi(0.5): -2 * LOG4, rp.renyi(-1): -LOG4 / 2}),
    ([math.log(3), math.log(5), -INF, -INF], {rp.iwae: LOG2, rp.renyi(0): LOG2, rp.renyi(-1): math.log(34 / 4) / 2}),
]
ALL_BOUNDS = [rp.elbo, rp.iwae, *map(rp.renyi, (0.0, 0.5, -1.0, 0.999, 1.0, 1.001, 2.0)), rp.tvo((0.0, 0.5)), rp.tvo()]


def column(values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype).unsqueeze(1).requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("values", "finite"), BY_HAND)
def test_bounds_of_weights_of_zero_are_the_limits(values, finite, dtype):
    for bound in ALL_BOUNDS:
        log_weight = column(values, dtype)
        found = bound(log_weight)
        (gradient,) = torch.autograd.grad(found.sum(), log_weight)
        assert gradient.isfinite().all(), bound
        if any(value > -INF for value in values) and (bound is rp.iwae or getattr(bound, "alpha", 1) < 1):
            near = bound(column([max(value, -1e6) for value in values]))
            assert found.item() == pytest.approx(near.item(), rel=1e-5), bound
            assert (gradient[log_weight == -INF] == 0).all(), bound
            assert gradient.sum().item() == pytest.approx(1, rel=1e-5), bound
        else:
            assert found.item() == -INF, bound
    for bound, value in finite.items():
        assert bound(column(values, dtype)).item() == pytest.approx(value, rel=1e-5)


def test_an_example_without_a_possible_sample_leaves_the_others_alone():
    log_weight = torch.tensor([[0.3, -INF, -1.0], [-INF, -INF, 2.0]], requires_grad=True)
    for bound in ALL_BOUNDS:
        alone = torch.stack([bound(log_weight[:, [index]])[0] for index in range(3)])
        assert torch.equal(bound(log_weight), alone)


SURROGATES = {
    "reinforce": surrogates.reinforce,
    "rloo": surrogates.rloo,
    "vimco": surrogates.vimco,
    "vimco, arithmetic": lambda w, q: surrogates.vimco(w, q, "arithmetic"),
    "tvo": lambda w, q: surrogates.tvo(w, q, (0.0, 0.3)),
    "wake": lambda w, q: surrogates.wake(w, w + q, q),
    "unordered set": surrogates.unordered_set,
}
OF_IWAE = ("vimco", "vimco, arithmetic", "wake")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize(("values", "finite"), BY_HAND)
def test_surrogates_of_weights_of_zero(name, values, finite, dtype):
    if len(values) == 1 and name not in ("reinforce", "tvo", "wake"):
        values = values * 2  # the others take two samples
    log_weight, log_q = column(values, dtype), torch.full((len(values), 1), -2.0, dtype=dtype, requires_grad=True)
    found = SURROGATES[name](log_weight, log_q)
    expected = finite.get(rp.iwae, -INF) if name in OF_IWAE else -INF
    assert found.item() == pytest.approx(expected, rel=1e-5)
    of_weights, of_q = torch.autograd.grad(found.sum(), (log_weight, log_q), materialize_grads=True)
    impossible = log_weight == -INF
    assert (of_weights[impossible] == 0).all()
    assert of_weights.isfinite().all()
    assert of_q.isfinite().all()
    if impossible.all():
        assert (of_q == 0).all()
    elif name != "wake":  # a score function leads away from what is impossible, and towards the rest
        assert of_q[impossible].max() <= 0
        assert of_q[~impossible].min() > of_q[impossible].max()


def test_vimcos_baseline_without_a_weight_of_zero_is_the_limit():
    """Where no advantage is infinite, the signals are those of very small weights."""
    values = [0.0, 1.0, -INF]
    for mean in ("geometric", "arithmetic"):
        slopes = []
        for log_weight in (values, [max(value, -1e5) for value in values]):
            log_q = torch.zeros(3, 1, dtype=torch.float64, requires_grad=True)
            surrogates.vimco(column(log_weight), log_q, mean).sum().backward()
            slopes.append(log_q.grad)
        torch.testing.assert_close(*slopes)


def test_antithetic_signals_that_are_impossible():
    noise = torch.tensor([[1.0], [2.0]])
    for signal, other, sign in ((0.0, -INF, 1), (-INF, 0.0, -1), (-INF, -INF, 0)):
        f, g = (torch.full((1, 1), value) for value in (signal, other))
        coins = torch.ones(1, 1, 1), torch.zeros(1, 1, 1)
        found = (surrogates.arm(f, g, noise[:1, None]), surrogates.disarm(f, g, *coins, torch.zeros(1, 1)))
        for gradient in found:
            assert gradient.isfinite().all()
            assert gradient.sign().item() == sign


def test_an_infinite_surrogate_has_no_gradient_and_leaves_the_value():
    x = torch.tensor([1.0, -INF], requires_grad=True)
    joined = surrogates.with_gradient_of(torch.tensor([5.0, -INF]), 3 * x)
    assert joined.tolist() == [5.0, -INF]
    assert torch.autograd.grad(joined.sum(), x)[0].tolist() == [3.0, 0.0]


class Bits(nn.Module):
    """Two layers of linear maps, whose logits may be shifted to infinity."""

    def __init__(self, latent, prior, posterior, likelihood=None):
        super().__init__()
        self.latent, self.observation = latent, rp.Bernoulli(4)
        self.encoder, self.decoder = nn.Linear(4, latent.num_params), nn.Linear(latent.num_features, 4)
        self.prior_logits, self.shift, self.decoder_shift = prior, posterior, likelihood

    def prior(self):
        return self.latent(self.prior_logits.to(self.encoder.weight))

    def posterior(self, x):
        return self.latent(self.encoder(x) + self.shift.to(x))

    def likelihood(self, z):
        features = self.latent.features(z)
        logits = self.decoder(features)
        if self.decoder_shift is not None:
            shift = torch.tensor(self.decoder_shift).to(logits)
            logits = torch.where(features[..., :1] > 0.5, logits + shift, logits)
        return self.observation(logits)  # bits: pixels that may be grey take finite logits


COINS, SYMBOLS = rp.Bernoulli(3), rp.Categorical(2, 3)
NO_COIN, NO_SYMBOL = torch.zeros(3), torch.zeros(6)
MODELS = {
    "a prior without ones": (COINS, torch.tensor([0, -INF, 0]), NO_COIN),
    "a prior without zeros": (COINS, torch.tensor([0, INF, 0]), NO_COIN),
    "a certain posterior": (COINS, NO_COIN, torch.tensor([INF, -INF, 0])),
    "both certain": (COINS, torch.tensor([INF, -INF, 0]), torch.tensor([INF, -INF, 0])),
    "prior and posterior apart": (COINS, torch.tensor([INF, 0, 0]), torch.tensor([-INF, 0, 0])),
    "a likelihood of half the states": (COINS, NO_COIN, NO_COIN, [INF, -INF, 0.0, 0.0]),
    "a prior without a symbol": (SYMBOLS, torch.tensor([0, -INF, 0, 0, 0, 0]), NO_SYMBOL),
    "a prior of one symbol": (SYMBOLS, torch.tensor([0, INF, 0, 0, 0, 0]), NO_SYMBOL),
    "a posterior without a symbol": (SYMBOLS, NO_SYMBOL, torch.tensor([0, -INF, 0, 0, 0, 0])),
    "a posterior of one symbol": (SYMBOLS, NO_SYMBOL, torch.tensor([0, INF, 0, 0, 0, 0])),
    "neither has the symbol": (SYMBOLS, *[torch.tensor([0, -INF, 0, 0, 0, 0])] * 2),
    "a likelihood of some symbols": (SYMBOLS, NO_SYMBOL, NO_SYMBOL, [INF, -INF, 0.0, 0.0]),
}
EXCLUDES_SOME = ("a prior without ones", "a prior without zeros", "prior and posterior apart", "a prior of one symbol")


WITH_CLOSED_KL = (rp.MuProp, rp.REBAR, rp.RELAX, rp.StraightThrough, rp.GumbelRao, rp.ReinMax, rp.Relaxed)


def estimators(latent):
    def network(inputs):
        return rp.mlp(inputs, [4], 1, nn.Tanh)

    found = [rp.VIMCO(4), rp.VIMCO(3, "arithmetic"), rp.TVO(3), rp.WakeSleep(), rp.RWS(3), rp.RWS(3, "both")]
    found += [rp.RWS(1, "sleep"), rp.Enumerate(2, rp.iwae), rp.Enumerate(2, rp.renyi(0.5)), rp.Enumerate(2, NEVER)]
    for bound in (rp.elbo, rp.iwae, rp.renyi(0.5), NEVER, rp.tvo()):
        found += [rp.Relaxed(0.5, k, "relaxed", hard, bound) for k in (1, 3) for hard in (False, True)]
    for bound in (rp.elbo, rp.beta_elbo(2.0)):
        found += [rp.REINFORCE(2, bound=bound), rp.REINFORCE(1, "none", bound=bound), rp.RLOO(3, bound)]
        found += [rp.NVIL(network(4), 2, bound=bound), rp.ARM(2, bound), rp.DisARM(2, bound), rp.DisARMTree(2, bound)]
        found += [rp.MuProp(1, bound), rp.MuProp(2, bound), rp.REBAR(2, bound=bound), rp.LocalExpectation(2, bound)]
        found += [rp.RELAX(network(latent.num_features + 4), 2, bound=bound), rp.UnorderedSet(3, bound)]
        found += [rp.StraightThrough(1.0, 2, bound=bound), rp.GumbelRao(0.5, 2, bound=bound), rp.ReinMax(bound=bound)]
        found += [rp.Relaxed(0.5, 2, "exact", hard, bound) for hard in (False, True)] + [rp.Enumerate(bound=bound)]
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MODELS)
def test_estimators_of_models_with_infinite_logits(name, dtype):
    torch.manual_seed(0)
    model = Bits(*MODELS[name]).to(dtype)
    x = torch.rand(5, 4).round().to(dtype)
    takes = 0
    for estimator in estimators(model.latent):
        own = list(estimator.to(dtype).parameters()) if isinstance(estimator, nn.Module) else []
        try:
            estimate = estimator(model, x)
        except TypeError:  # coins and symbols have estimators of their own
            continue
        takes += 1
        assert not estimate.loss.isnan(), estimator
        assert estimate.loss > -INF, estimator
        model.zero_grad()
        estimate.loss.backward()
        if own:
            estimate.control_loss.backward(inputs=own)
        for parameter in (*model.parameters(), *own):
            assert parameter.grad is None or parameter.grad.isfinite().all(), estimator
        if name in EXCLUDES_SOME and isinstance(estimator, WITH_CLOSED_KL):
            assert estimate.loss == INF, estimator
    assert takes > 40


def test_losses_at_logits_of_minus_infinity_are_infinite():
    torch.manual_seed(0)
    model, x = Bits(COINS, torch.full((3,), -INF), torch.full((3,), 9.0)), torch.zeros(5, 4)
    for estimator in (rp.Relaxed(0.5, kl="relaxed"), rp.WakeSleep(), rp.RWS(3, update="both"), rp.VIMCO(3), rp.RLOO(3)):
        assert estimator(model, x).loss == INF, estimator


def test_evaluation_of_a_model_with_impossible_samples(float64):
    torch.manual_seed(0)
    model, x = Bits(*MODELS["a prior without a symbol"]), torch.rand(20, 4).round()
    found = rp.evaluate(model, x, num_samples=60)
    assert found.elbo.value == -INF
    assert found.rate.value == INF
    states = rp.distributions.joint_support(SYMBOLS(NO_SYMBOL.double()))[:, None].expand(-1, 20, -1, -1)
    exact = (model.prior().log_prob(states) + model.likelihood(states).log_prob(x)).logsumexp(0).mean()
    assert found.log_likelihood.value == pytest.approx(exact.item(), abs=0.1)
    assert -INF < found.iwae.value < found.log_likelihood.value


@pytest.mark.parametrize("gradient", ["total", "stl", "dreg"])
def test_pathwise_passes_over_impossible_samples(gradient, float64):
    """A likelihood that is zero on half of the latent space."""

    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Linear(3, 2)

        def prior(self):
            return rp.Gaussian(1)(torch.zeros(2))

        def posterior(self, x):
            return rp.Gaussian(1)(self.encoder(x))

        def likelihood(self, z):
            logits = torch.where(z > 0, INF, z).expand(*z.shape[:-1], 3)
            return rp.Bernoulli(3).likelihood(logits)

    model, x = Half(), torch.zeros(50, 3)
    bounds = {"total": (rp.elbo, rp.iwae, rp.tvo()), "stl": (rp.elbo,), "dreg": (rp.iwae,)}[gradient]
    for bound in bounds:
        estimate = rp.Pathwise(4, bound, "sampled", gradient)(model, x)
        assert not estimate.bound.isnan().any()
        assert bound is rp.iwae or (estimate.bound == -INF).any()
        assert bound is not rp.iwae or estimate.bound.isfinite().any()
        estimate.loss.backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coins_with_infinite_logits(dtype):
    logits = torch.tensor([INF, -INF, INF, -INF, INF, -INF], dtype=dtype, requires_grad=True)
    x = torch.tensor([1.0, 0.0, 0.0, 1.0, 1 - 1e-6, 1e-6], dtype=dtype)
    coin = Bernoulli(logits, validate_args=False)
    log_prob = coin.log_prob(x)
    assert log_prob.tolist() == [0.0, 0.0, -INF, -INF, -INF, -INF]
    assert torch.autograd.grad(log_prob.sum(), logits)[0].isfinite().all()
    assert coin.entropy().tolist() == [0.0] * 6
    assert torch.autograd.grad(coin.entropy().sum(), logits)[0].tolist() == [0.0] * 6
    assert coin.sample((9,)).eq(coin.mean).all()
    pairs = [(INF, INF, 0), (-INF, -INF, 0), (INF, -INF, INF), (0, INF, INF), (-60, INF, INF), (60, -INF, INF)]
    pairs += [(INF, 0, LOG2), (-INF, 0, LOG2), (-INF, 3, math.log1p(math.exp(3))), (-200, INF, INF)]
    p, q, expected = torch.tensor(pairs, dtype=dtype).unbind(1)
    p, q = p.requires_grad_(), q.requires_grad_()
    kl = kl_divergence(Bernoulli(p), Bernoulli(q))
    torch.testing.assert_close(kl, expected)
    assert all(slope.isfinite().all() for slope in torch.autograd.grad(kl.sum(), (p, q)))
    relaxed = [LogitRelaxedBernoulli(0.5, logits, validate_args=False) for logits in (p, q)]
    y = relaxed[0].rsample()
    scores = [each.log_prob(y) for each in relaxed]
    assert scores[0].isfinite().all()
    assert ((scores[1] == -INF) == ((p != q) & (p.isinf() | q.isinf()))).all()
    assert torch.equal(kl_divergence(*relaxed) == INF, (p != q) & (p.isinf() | q.isinf()))


def test_a_certain_coin_in_half_precision():
    for dtype in (torch.float16, torch.bfloat16):
        coin = Bernoulli(torch.tensor([INF, -INF], dtype=dtype))
        assert coin.log_prob(torch.tensor([1.0, 1.0], dtype=dtype)).tolist() == [0.0, -INF]
        symbol = OneHotCategorical(torch.tensor([INF, 0.0, -INF], dtype=dtype))
        assert symbol.log_prob(symbol.sample()).item() == 0
        relaxed = LogRelaxedCategorical(0.5, torch.tensor([0.0, 0.0, -INF], dtype=dtype))
        assert relaxed.log_prob(relaxed.rsample((9,))).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_symbols_with_infinite_logits(dtype):
    rows = torch.tensor([[0, 0, -INF], [INF, 0, -INF], [INF, 0, 9], [0, 0, 0]], dtype=dtype, requires_grad=True)
    half, certain = math.log(0.5), [0.0, -INF, -INF]
    symbol = OneHotCategorical(rows)
    expected = torch.tensor([[half, half, -INF], certain, certain, [-math.log(3)] * 3], dtype=dtype)
    torch.testing.assert_close(symbol.log_probs, expected)
    torch.testing.assert_close(symbol.entropy(), torch.tensor([LOG2, 0, 0, math.log(3)], dtype=dtype))
    assert symbol.log_prob(symbol.sample((99,))).isfinite().all()
    for other, kl in (([0, 0, -INF], [0, LOG2, LOG2, INF]), ([0, INF, 0], [INF] * 4), ([INF, 0, 0], [INF, 0, 0, INF])):
        second = torch.tensor(other, dtype=dtype, requires_grad=True)
        found = kl_divergence(symbol, OneHotCategorical(second))
        torch.testing.assert_close(found, torch.tensor(kl, dtype=dtype))
        slopes = torch.autograd.grad(found.sum() + symbol.entropy().sum(), (rows, second))
        assert all(slope.isfinite().all() for slope in slopes)


def test_a_relaxed_symbol_that_is_ruled_out_is_as_if_it_were_not_there(float64):
    kept, ruled_out = torch.tensor([0.3, -1.0, 0.8]), torch.tensor([0.3, -INF, -1.0, 0.8])
    reduced = LogRelaxedCategorical(0.7, kept)
    relaxed = LogRelaxedCategorical(0.7, ruled_out)
    y = reduced.rsample((50,))
    wide = torch.cat([y[:, :1], torch.full((50, 1), -INF), y[:, 1:]], 1)
    torch.testing.assert_close(relaxed.log_prob(wide), reduced.log_prob(y))
    other, other_wide = torch.tensor([1.0, 0.0, -0.5]), torch.tensor([1.0, -INF, 0.0, -0.5])
    torch.testing.assert_close(
        kl_divergence(relaxed, LogRelaxedCategorical(0.7, other_wide)),
        kl_divergence(reduced, LogRelaxedCategorical(0.7, other)),
    )
    assert (relaxed.rsample((50,))[:, 1] == -INF).all()
    assert relaxed.log_prob(relaxed.rsample((50,))).isfinite().all()
    full = LogRelaxedCategorical(0.7, torch.zeros(4), validate_args=False)
    assert (full.log_prob(wide) == -INF).all()
    unchecked = LogRelaxedCategorical(0.7, ruled_out, validate_args=False)
    assert (unchecked.log_prob(full.rsample((50,))) == -INF).all()
    assert kl_divergence(relaxed, full) == INF
    assert kl_divergence(full, relaxed) == INF
