"""What the laboratory compares with: exact gradients, long averages and their noise."""

import dataclasses
import math

import pytest
import torch
from helpers import LinearGaussian, small_vae
from scipy import stats

import reparam as rp
from reparam.laboratory.comparison import compare
from reparam.laboratory.exact import expected_log_mean, importance_weighted
from reparam.laboratory.meter import flat
from reparam.laboratory.reference import References


def test_each_bound_has_its_own_reference(float64):
    model, x = small_vae(rp.Bernoulli(3)), torch.rand(5, 6)
    parts = list(model.parameters())
    references = References(model, x, parts, 20)

    def exact(bound, k):
        return flat(torch.autograd.grad(rp.Enumerate(k, bound)(model, x).loss, parts), parts)

    half, five = (
        rp.Relaxed(0.5, 2, kl="relaxed", bound=bound) for bound in (lambda w: w.mean(0), lambda w: 5 * w.mean(0))
    )
    torch.testing.assert_close(references.of(half, "a_2").gradient, exact(rp.elbo, 1))
    torch.testing.assert_close(references.of(five, "a_2").gradient, 5 * exact(rp.elbo, 1))
    torch.testing.assert_close(references.of(rp.VIMCO(2), "iwae_2").gradient, exact(rp.iwae, 2))
    torch.testing.assert_close(references.of(rp.Pathwise(1, rp.iwae), "iwae_1").gradient, exact(rp.elbo, 1))
    low, high = (references.of(rp.TVO(2, (0.0, b)), "tvo_2_2").gradient for b in (0.1, 0.9))
    assert not torch.allclose(low, high)
    torch.testing.assert_close(references.of(rp.TVO(2, (0.0,)), "tvo_1_2").gradient, exact(rp.elbo, 1))


@pytest.mark.parametrize("latent", [rp.Bernoulli(2), rp.Categorical(2, 2)], ids=str)
@pytest.mark.parametrize("stretch", [1, 400])
def test_the_importance_weighted_bound_is_summed_over_states_for_any_number_of_samples(latent, stretch, float64):
    """One integral in place of a sum over tuples, whose number grows as that of the states to the power of K."""
    model, x = small_vae(latent), torch.rand(5, 6)
    with torch.no_grad():
        model.decoder[-1].weight.mul_(stretch)  # weights apart by thousands of nats
    parts = list(model.parameters())
    for k in (1, 2, 4):
        ours, tuples = importance_weighted(k, model, x), rp.Enumerate(k, rp.iwae)(model, x).loss
        torch.testing.assert_close(ours, tuples)
        found, expected = (flat(torch.autograd.grad(loss, parts), parts) for loss in (ours, tuples))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * expected.norm().item())
    references = References(model, x, parts, 20)
    assert references.of(rp.VIMCO(30), "iwae_30").blocks.shape[0] == 1
    assert references.how == {"the exact gradient"}


def test_a_mean_of_many_weights_of_two_kinds_is_a_sum_over_how_many_are_of_each(float64):
    w, q, n = torch.tensor([[1.0], [50.0]]), torch.tensor([[0.9], [0.1]]), 30
    count = torch.arange(n + 1.0)
    share = torch.tensor(stats.binom.pmf(count.numpy(), n, 0.1))
    total = (n - count) * w[0] + count * w[1]
    value, by_weight, _ = expected_log_mean(w.log(), q.log(), n)
    torch.testing.assert_close(value, (share * (total / n).log()).sum().unsqueeze(0))
    torch.testing.assert_close(by_weight[1], (share * count * w[1] / total).sum().unsqueeze(0))


def test_a_long_average_stands_in_where_nothing_can_be_enumerated(float64):
    model, x = LinearGaussian(), torch.randn(4, 3)
    found = rp.lab(model, x, [rp.Pathwise(4), rp.Pathwise(4, rp.iwae), rp.TVO(4)], repeats=200, reference_repeats=1000)
    assert found.reference == "an average of 1000 RLOO(num_samples=16) and an average of 1000 VIMCO(num_samples=4)"
    assert not found["Pathwise(num_samples=4)"].biased
    assert not found["Pathwise(num_samples=4, bound=iwae)"].biased
    assert math.isnan(found["TVO(num_samples=4)"].bias)
    assert "tvo_3: no reference gradient could be had" in found.advice()


def test_an_unbiased_estimator_is_hardly_ever_called_biased_and_the_error_is_the_spread(float64):
    flagged, values, errors = 0, [], []
    for _ in range(400):
        blocks = torch.randn(10, 20)
        found = compare(blocks, torch.zeros(1, 20))
        flagged += found.seen
        found = compare(blocks + 3.0, torch.zeros(1, 20))
        values.append(found.squared)
        errors.append(found.squared_error)
    assert flagged <= 4  # 1 in 400 is expected
    values, errors = torch.tensor(values), torch.tensor(errors)
    assert abs(values.mean() - 180) < 4 * values.std() / 20
    assert errors.mean().item() == pytest.approx(values.std().item(), rel=0.2)


def compared(bias, length, ours, theirs, *, runs=400, size=20):
    """Comparisons of simulated gradients: a bias and an exact gradient of these lengths at an angle, and noise.

    Args:
        bias, length: along the first and, for g*, along the first two coordinates.
        ours, theirs: root of the total variance of the mean gradient and of the averaged reference.
    """
    exact, planted = torch.zeros(size), torch.zeros(size)
    exact[:2], planted[0] = length / math.sqrt(2), bias
    noise = torch.linspace(0.1, 2.0, size).sqrt() / math.sqrt(torch.linspace(0.1, 2.0, size).sum())
    found = []
    for _ in range(runs):
        means, reference = (torch.randn(10, size) * noise * spread * math.sqrt(10) for spread in (ours, theirs))
        found.append(compare(exact + planted + means, exact + reference))
    return {name: torch.tensor([float(getattr(each, name)) for each in found]) for name in vars(found[0])}


@pytest.mark.parametrize(("ours", "theirs"), [(0.01, 0.3), (0.3, 0.01), (0.2, 0.2)])
def test_the_noise_of_an_averaged_reference_is_in_the_errors(ours, theirs, float64):
    """Before, the reference's part of the squared bias's error was its variance alone, and its length had none."""
    found = compared(3.0, 1.0, ours, theirs)
    for name, value in (("squared", 9.0), ("bias", 3.0)):
        values, errors = found[name], found[f"{name}_error"]
        assert abs(values.mean() - value) < 4 * values.std() / 20 + 0.05 * value * theirs
        assert errors.square().mean().sqrt().item() == pytest.approx(values.std().item(), rel=0.2)
    units = found["unit"]
    assert abs(units.mean() - 1) < 4 * units.std() / 20 + 0.1 * theirs**2
    assert found["unit_error"].mean().item() == pytest.approx(units.std().item(), rel=0.2)


def test_a_noisy_reference_makes_no_bias_and_hides_a_small_one(float64):
    none = compared(0.0, 1.0, 0.1, 0.4)
    assert none["seen"].mean() <= 0.01
    assert abs(none["squared"].mean()) < 4 * none["squared"].std() / 20
    assert compared(0.2, 1.0, 0.1, 0.4)["seen"].mean() < 0.1  # of length 0.2, behind noise of length 0.4
    assert compared(0.2, 1.0, 0.01, 0.01)["seen"].mean() > 0.99


def test_a_planted_bias_is_found_within_its_error_where_the_reference_is_an_average(float64):
    """The gradient is one fixed vector; the exact one of this linear Gaussian model is known in closed form."""
    model, x = LinearGaussian(), torch.randn(4, 3)
    parameters = list(model.parameters())
    q = model.posterior(x).base_dist
    spread = (model.weight.square().sum(0) * q.variance).sum(-1)
    error = (x - q.mean @ model.weight.T - model.bias).square().sum(-1)
    kl = torch.distributions.kl_divergence(model.posterior(x), model.prior())
    loss = ((error + spread) / (2 * model.scale**2) + kl).mean()
    exact = flat(torch.autograd.grad(loss, parameters), parameters)
    unit = exact.norm().item()
    direction = torch.nn.functional.normalize(torch.randn(len(exact)), dim=0)
    planted = exact + 3 * unit * direction

    class Planted:
        def at(self, step):
            return self

        def __call__(self, model, x):
            loss = torch.cat([p.flatten() for p in model.parameters()]) @ planted
            return rp.Estimate(loss, torch.zeros(len(x)), "elbo")

    found = []
    for seed in range(10):
        lab = rp.lab(model, x, {"planted": Planted()}, repeats=20, reference_repeats=100, seed=seed)
        found.append(lab["planted"])
    biases = torch.tensor([f.bias for f in found])
    claimed = torch.tensor([f.bias_error for f in found]).square().mean().sqrt()
    assert all(f.biased for f in found)
    assert abs(biases.mean() - 3) < 4 * biases.std() / math.sqrt(10)
    assert 0.6 < claimed / biases.std() < 1.7  # 10 seeds tell a deviation to 24%
    assert biases.std() > 0.01
    cosines = torch.tensor([f.cosine for f in found])
    known = torch.nn.functional.cosine_similarity(exact, planted, dim=0)
    assert abs(cosines.mean() - known) < 4 * cosines.std() / math.sqrt(10) + 0.01
    mse = torch.tensor([f.mse for f in found])
    assert abs(mse.mean() - 9) < 4 * mse.std() / math.sqrt(10)
    assert 0.6 < torch.tensor([f.mse_error for f in found]).mean() / mse.std() < 2.2


def test_a_reference_of_unknown_length_is_said_and_does_not_hide_an_order():
    first = rp.Finding("a", "elbo", 0.0, 0.1, 1.0, 0.4, 0.5, 0.5, 1.0, 1.0, mse=1.0, mse_error=0.4, length_error=0.2)
    second = dataclasses.replace(first, name="b", mse=2.0, mse_error=0.8)
    found = rp.Lab((first, second), 100, "all", "an average", {})
    assert first.ranking_error == pytest.approx(0, abs=1e-6)
    assert "b has 2.0 times its error at equal time" in found.advice()
    assert "elbo: the length of the reference gradient has an error of 20%" in found.notes()
    assert "Raise reference_repeats" in str(found)
