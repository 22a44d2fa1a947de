"""Families of counts, of levels and of pixels: against their definitions, and as latents against enumeration."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import scipy.special
import torch
from helpers import gradient, gradients, largest_z, small_vae
from torch.nn import functional as F

import reparam as rp
from reparam import families
from reparam.distributions import joint_support
from reparam.distributions.log_masses import binomial_log_probs, logistic_bin_log_probs, truncated_poisson_logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("logit", [-1e4, -6.0, 0.0, 0.4, 20.0, 1e4])
@pytest.mark.parametrize("total_count", [1, 2, 30, 2000])
def test_binomial_levels_against_scipy(total_count, logit, dtype):
    logits = torch.tensor(logit, dtype=dtype, requires_grad=True)
    found = binomial_log_probs(logits, total_count)
    k = np.arange(total_count + 1)
    log_choose = (
        scipy.special.gammaln(total_count + 1)
        - scipy.special.gammaln(k + 1)
        - scipy.special.gammaln(total_count - k + 1)
    )
    log_p, log_q = F.logsigmoid(torch.tensor([logit, -logit], dtype=torch.float64)).tolist()
    expected = torch.tensor(log_choose + k * log_p + (total_count - k) * log_q, dtype=dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(found.logsumexp(-1).item(), 0.0, rtol=0, atol=tolerance)
    for j in (0, total_count // 2, total_count):
        (slope,) = torch.autograd.grad(found[j], logits, retain_graph=True)
        assert slope.item() == pytest.approx(j - total_count * scipy.special.expit(logit), rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("log_rate", [-1e4, -3.0, 0.0, 2.9, 3.1, 6.0, 1e4])
def test_truncated_poisson_levels_against_their_definition(log_rate, dtype):
    for largest in (1, 20, 500):
        raw = torch.tensor(log_rate, dtype=dtype, requires_grad=True)
        logits = truncated_poisson_logits(raw, largest)
        x = np.arange(largest + 1)
        terms = x * log_rate - scipy.special.gammaln(x + 1)
        expected = torch.tensor(scipy.special.log_softmax(terms), dtype=dtype)
        tolerance = 1e-5 if dtype == torch.float32 else 1e-9
        torch.testing.assert_close(logits.log_softmax(-1), expected, rtol=tolerance, atol=tolerance)
        (slope,) = torch.autograd.grad(logits.log_softmax(-1)[0], raw)
        assert slope.item() == pytest.approx(
            -float(expected.double().exp() @ torch.tensor(x).double()), rel=1e-4, abs=1e-6
        )


def test_ordinal_bins_against_mpmath_far_in_the_tails():
    for loc, scale in ((0.0, 1.0), (2.0, 0.01), (-30.0, 0.5), (0.3, 1e6), (1e4, 1e-3)):
        edges = (torch.arange(1, 6, dtype=torch.float64) / 6).logit()
        found = logistic_bin_log_probs(*torch.tensor([loc, scale], dtype=torch.float64), edges)
        cuts = [-mpmath.inf, *((mpmath.mpf(edge) - loc) / mpmath.mpf(scale) for edge in edges.tolist()), mpmath.inf]
        expected = [float(mpmath.log(logistic_mass(*ends))) for ends in itertools.pairwise(cuts)]
        assert found.tolist() == pytest.approx(expected, rel=1e-9)


def logistic_mass(low, high):
    """The probability of an interval under the standard logistic, in the tail where it does not cancel."""
    if high > 0:
        low, high = -high, -low
    return 1 / (1 + mpmath.exp(-high)) - 1 / (1 + mpmath.exp(-low))


@pytest.mark.parametrize("extreme", list(itertools.product((-1e4, 0.0, 1e4), (-13.8, 0.0, 13.8))))
def test_ordinal_stays_finite(extreme):
    params = torch.tensor(extreme, requires_grad=True)
    member = families.Ordinal(1, 7)(params)
    log_probs = member.log_prob(joint_support(member))
    assert log_probs.isfinite().all()
    torch.testing.assert_close(log_probs.logsumexp(0), torch.zeros(()))
    assert torch.autograd.grad(log_probs.sum(), params)[0].isfinite().all()


LATENTS = [families.Ordinal(3, 4), families.Binomial(3, 3), families.Poisson(3, largest=4), families.Binomial(4, 1)]


@pytest.mark.parametrize("latent", LATENTS, ids=str)
def test_a_latent_of_levels_trains_by_rloo_as_by_enumeration(latent, float64):
    model, x = small_vae(latent), torch.rand(3, 6)
    exact = gradient(rp.Enumerate()(model, x).loss, model)
    z, limit = largest_z(gradients(rp.RLOO(4), model, x.repeat(64, 1), 100), exact)
    assert z < limit


@pytest.mark.parametrize(
    "latent", [families.Poisson(3), families.NegativeBinomial(3), families.ZeroInflatedNegativeBinomial(3)], ids=str
)
def test_an_endless_latent_trains_by_rloo_and_has_no_list_of_states(latent):
    model, x = small_vae(latent), torch.rand(50, 6)
    assert gradient(rp.RLOO(4)(model, x).loss, model).isfinite().all()
    with pytest.raises(TypeError, match="cannot list its states"):
        rp.Enumerate()(model, x)


def test_features_are_between_minus_one_and_one():
    for family in (*LATENTS, families.Ordinal((2, 2), 5)):
        z = joint_support(family(torch.zeros(family.num_params)))
        features = family.features(z)
        assert features.shape == (len(z), family.num_features)
        assert features.min() == -1
        assert features.max() == 1
    counts = torch.tensor([[0.0, 1.0, 99.0]])
    for family in (families.Poisson(3), families.NegativeBinomial(3), families.ZeroInflatedNegativeBinomial(3)):
        torch.testing.assert_close(family.features(counts), counts.log1p())


ALL = [
    *LATENTS,
    families.Poisson(3),
    families.NegativeBinomial(3),
    families.ZeroInflatedNegativeBinomial(3),
    families.QuantizedCategorical(3),
    families.DiscretizedLogistic(3, num_levels=256, num_components=2),
]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", ALL, ids=str)
def test_half_precision_rounds_the_parameters_and_the_draws_and_nothing_else(family, dtype):
    params = torch.randn(50, family.num_params).to(dtype)
    z = family(params).sample()
    assert z.dtype == dtype
    log_prob = family(params).log_prob(z)
    assert log_prob.dtype == torch.float32
    if not isinstance(family, families.QuantizedCategorical | families.DiscretizedLogistic):
        exact = family(params.float())  # of pixels, levels rounded to half precision are none in single precision
        torch.testing.assert_close(log_prob, exact.log_prob(z.float()), rtol=1e-5, atol=1e-5)
    assert log_prob.isfinite().all()


def test_parameters_come_part_by_part():
    params = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    negative_binomial = families.ZeroInflatedNegativeBinomial(2)(params).base_dist
    assert negative_binomial.base.log_mean.tolist() == [1.0, 2.0]
    assert negative_binomial.base.log_dispersion.tolist() == [3.0, 4.0]
    assert negative_binomial.logits.tolist() == [5.0, 6.0]
    ordinal = families.Ordinal(2, 3)(torch.tensor([4.0, -4.0, -3.0, -3.0]))
    assert ordinal.base_dist.mode.tolist() == [2.0, 0.0]
    categorical = families.QuantizedCategorical(2, num_levels=3)(params).base_dist
    assert categorical.logits.tolist() == [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]
    plain = families.DiscretizedLogistic(3)(params).base_dist
    assert plain.loc.squeeze(-1).tolist() == [1.0, 1.5, 2.0]
    torch.testing.assert_close(plain.scale.squeeze(-1), params[3:].exp() / 8)
    image = families.DiscretizedLogistic((1, 2, 2), num_levels=16, num_components=5)
    raw = torch.randn(7, image.num_params)
    mixture = image(raw).base_dist
    channels = raw.reshape(7, 3, 5, 1, 2, 2)
    torch.testing.assert_close(mixture.loc, (1 + channels[:, 0].movedim(1, -1)) / 2)
    torch.testing.assert_close(mixture.scale, channels[:, 1].movedim(1, -1).exp() / 8)
    torch.testing.assert_close(mixture.logits, channels[:, 2].movedim(1, -1))


def test_an_ordinal_is_a_logistic_cut_at_the_quantiles_of_the_standard_one(float64):
    params = torch.tensor([0.4, -0.9])
    member = families.Ordinal(1, 3)(params)
    below = torch.sigmoid((torch.tensor([1 / 3, 2 / 3]).logit() - 0.4) / math.exp(-0.9))
    expected = torch.stack([below[0], below[1] - below[0], 1 - below[1]])
    torch.testing.assert_close(member.log_prob(torch.arange(3.0)[:, None]).exp(), expected)


def test_pixels_at_zero_parameters_are_uniform_or_middle_grey():
    uniform = families.QuantizedCategorical(1)(torch.zeros(256)).base_dist
    torch.testing.assert_close(uniform.log_probs, torch.full((1, 256), -math.log(256)))
    for num_components in (1, 3):
        family = families.DiscretizedLogistic((1, 2, 2), num_components=num_components)
        middle = family(torch.zeros(family.num_params))
        torch.testing.assert_close(middle.mean, torch.full((1, 2, 2), 0.5))
        assert 0.21 < middle.stddev.mean() < 0.23


BYTES = torch.randint(0, 256, (20, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LIKELIHOODS = [
    (families.Ordinal(6, 4), (BYTES // 64).float(), "4 levels from 0 to 3 in steps of 1"),
    (families.Binomial(6, 255), BYTES.float(), "256 levels from 0 to 255 in steps of 1"),
    (families.Poisson(6), BYTES.float(), "whole numbers from 0"),
    (families.Poisson(6, largest=255), BYTES.float(), "256 levels from 0 to 255 in steps of 1"),
    (families.NegativeBinomial(6), BYTES.float(), "whole numbers from 0"),
    (families.ZeroInflatedNegativeBinomial(6), BYTES.float(), "whole numbers from 0"),
]
PIXELS = [
    families.QuantizedCategorical(6),
    families.DiscretizedLogistic(6),
    families.DiscretizedLogistic(6, num_levels=256, num_components=4),
]


@pytest.mark.parametrize(("family", "counts", "support"), LIKELIHOODS, ids=[str(f) for f, _, _ in LIKELIHOODS])
def test_counts_are_data_and_grey_values_are_not(family, counts, support):
    model = small_vae(rp.Gaussian(2), observation=family)
    rp.fit(model, rp.Pathwise(), rp.Data(counts), epochs=1, batch_size=10)
    assert math.isfinite(rp.evaluate(model, rp.Data(counts), num_samples=2).elbo.value)
    remedy = (
        r"Counts and levels are whole numbers, passed as rp.Data\(counts.float\(\)\): bytes .uint8. are divided by 255"
    )
    for grey in (rp.Data(BYTES), counts / 255, -counts - 1, counts + 0.5):
        with pytest.raises(ValueError, match=rf"example 0 has values from .*\({support}\). {remedy}"):
            rp.evaluate(model, grey, num_samples=2)


@pytest.mark.parametrize("family", PIXELS, ids=str)
def test_bytes_are_data_of_the_pixel_likelihoods_and_other_numbers_are_not(family):
    model = small_vae(rp.Gaussian(2), observation=family)
    rp.fit(model, rp.Pathwise(), rp.Data(BYTES), epochs=1, batch_size=10)
    for data in (rp.Data(BYTES), BYTES.float() / 255, (BYTES / 255).numpy()):
        assert math.isfinite(rp.evaluate(model, data, num_samples=2).elbo.value)
    bad = BYTES.float() / 255
    bad[13, 2] += 0.3 / 255
    with pytest.raises(ValueError, match=r"example 13 has .*Round .*\(x \* 255\).round\(\) / 255, or pass the bytes"):
        rp.evaluate(model, bad, num_samples=2)
    with pytest.raises(ValueError, match=r"example 0 has values from .* outside the support"):
        rp.evaluate(model, BYTES.float(), num_samples=2)


def test_counts_above_the_largest_are_refused():
    model = small_vae(rp.Gaussian(2), observation=families.Poisson(6, largest=9))
    with pytest.raises(ValueError, match=r"example 2 has values from 0 to 10, .* \(10 levels from 0 to 9"):
        rp.evaluate(model, torch.tensor([[0.0] * 6, [9.0] * 6, [0.0] * 5 + [10.0]]), num_samples=2)


REFUSED = [
    (lambda: families.Ordinal(3, 1), ValueError, "num_levels is 1; it must be at least 2"),
    (lambda: families.Binomial(3, 0), ValueError, "total_count is 0; it must be at least 1"),
    (lambda: families.Poisson(3, largest=0), ValueError, "largest is 0; it must be at least 1"),
    (lambda: families.Poisson(3, largest=2.5), TypeError, "largest is 2.5; it must be a whole number"),
    (lambda: families.QuantizedCategorical(3, num_levels=1), ValueError, "num_levels is 1; it must be at least 2"),
    (lambda: families.DiscretizedLogistic(3, num_components=0), ValueError, "num_components is 0"),
    (lambda: families.NegativeBinomial(0), ValueError, "shape is 0; it must be at least 1"),
    (lambda: rp.distributions.Levels(torch.zeros(3), step=0.0), ValueError, "step is 0.0; it must be finite and above"),
]


@pytest.mark.parametrize(("act", "error", "message"), REFUSED, ids=[m[:30] for _, _, m in REFUSED])
def test_refusals(act, error, message):
    with pytest.raises(error, match=message):
        act()
