"""What makes no sense is refused with the value, the rule and the remedy."""

import inspect
import math

import pytest
import torch
from helpers import small_vae
from torch import nn

import reparam as rp


class Lookup(nn.Module):
    """A decoder that looks the code up in a table: nothing to differentiate in z."""

    def __init__(self):
        super().__init__()
        self.encoder, self.table = nn.Linear(6, 2), nn.Parameter(torch.randn(4, 6))

    def prior(self):
        return rp.Bernoulli(2)(torch.zeros(2))

    def posterior(self, x):
        return rp.Bernoulli(2)(self.encoder(x))

    def likelihood(self, z):
        index = (z.detach().round() @ torch.tensor([1.0, 2.0])).long()
        with torch.no_grad():
            return rp.Bernoulli(6).likelihood(self.table[index])


REFUSALS = [
    (
        lambda: rp.Pathwise()(small_vae(rp.Bernoulli(3)), torch.rand(2, 6)),
        ValueError,
        r"Bernoulli has no rsample.*RLOO",
    ),
    (lambda: rp.RLOO(num_samples=1), ValueError, r"num_samples is 1; it must be at least 2.*RLOO\(num_samples=4\)"),
    (lambda: rp.RLOO(num_samples=2.5), TypeError, r"num_samples is 2.5; it must be a whole number"),
    (lambda: rp.surrogates.rloo(torch.zeros(1, 3), torch.zeros(1, 3)), ValueError, r"received 1 sample; .* at least 2"),
    (lambda: rp.Pathwise(bound=rp.iwae, kl="analytic"), ValueError, r'kl="analytic" with the bound iwae.*kl="sampled"'),
    (lambda: rp.Pathwise(kl="exact"), ValueError, r"kl is 'exact'; it must be one of 'auto', 'analytic', 'sampled'"),
    (lambda: rp.Relaxed(0.5, kl="exact", bound=rp.iwae), ValueError, r'kl="exact" with the bound iwae.*kl="relaxed"'),
    (lambda: rp.Relaxed(0.0), ValueError, r"temperature is 0.0; it must be finite and above 0"),
    (
        lambda: rp.Relaxed(lambda step: -1.0).at(3),
        ValueError,
        r"the temperature that the schedule gives for step 3 is -1.0",
    ),
    (lambda: rp.relax(small_vae(rp.Bernoulli(2)), torch.tensor(-0.5)), ValueError, r"temperature is -0.5; .* above 0"),
    (lambda: rp.Pathwise(5, "iwae"), TypeError, r"bound is 'iwae'; it must be a function.*rp.iwae"),
    (lambda: rp.Pathwise(5, lambda w: w)(small_vae(rp.Gaussian(2)), torch.rand(3, 6)), ValueError, r"\(5, 3\).*Reduce"),
    (
        lambda: inspect.unwrap(rp.surrogates.rloo)(torch.zeros(3, 3), torch.zeros(3)),
        ValueError,
        r"log_weight has shape \(3, 3\) and log_q",
    ),
    (lambda: rp.exponential(0.1, 1.0, rate=1.0), ValueError, r"start is 0.1 and end 1.0; a decay ends below"),
    (lambda: rp.Relaxed(rp.linear(1.0, 0.5, 9))(small_vae(rp.Bernoulli(3)), torch.rand(2, 6)), ValueError, "schedule"),
    (
        lambda: rp.Relaxed(0.5)(small_vae(rp.Gaussian(3)), torch.rand(2, 6)),
        TypeError,
        r"Normal has no relaxation.*Pathwise",
    ),
    (lambda: rp.Enumerate()(small_vae(rp.Bernoulli(17)), torch.rand(2, 6)), ValueError, r"2\*\*17.*at most 65536"),
    (lambda: rp.Enumerate()(small_vae(rp.Gaussian(2)), torch.rand(2, 6)), TypeError, r"Normal cannot list its states"),
    (lambda: rp.relax(rp.relax(small_vae(rp.Bernoulli(2)), 0.5), 0.5), TypeError, r"relaxed already"),
    (lambda: rp.exponential(1.0, 0.1, rate=0.0), ValueError, "rate is 0.0"),
    (lambda: rp.VIMCO(1), ValueError, r"num_samples is 1; it must be at least 2.*VIMCO\(num_samples=8\)"),
    (lambda: rp.VIMCO(4, "harmonic"), ValueError, "mean is 'harmonic'; it must be one of 'geometric', 'arithmetic'"),
    (lambda: rp.TVO(1), ValueError, "num_samples is 1; it must be at least 2. A covariance needs two"),
    (lambda: rp.TVO(4, (0.5,)), ValueError, "must begin with 0"),
    (lambda: rp.RWS(1), ValueError, "num_samples is 1; it must be at least 2. One weight is always 1.*update='sleep'"),
    (lambda: rp.RWS(4, "dream"), ValueError, "update is 'dream'; it must be one of 'wake', 'sleep', 'both'"),
    (lambda: rp.UnorderedSet(9), ValueError, "num_samples is 9; it must be at most 8.*RLOO"),
    (
        lambda: rp.UnorderedSet(4)(small_vae(rp.Bernoulli(1)), torch.rand(2, 6)),
        ValueError,
        "4 different samples.*2 joint",
    ),
    (
        lambda: rp.DisARM()(small_vae(rp.Categorical(2, 3)), torch.rand(2, 6)),
        TypeError,
        "OneHotCategorical; DisARM takes Bernoulli.*DisARMTree",
    ),
    (lambda: rp.ARM()(small_vae(rp.Gaussian(2)), torch.rand(2, 6)), TypeError, "Normal; ARM takes Bernoulli.*RLOO"),
    (
        lambda: rp.DisARMTree()(small_vae(rp.Bernoulli(2)), torch.rand(2, 6)),
        TypeError,
        "DisARMTree takes one-hot Categorical.*use DisARM",
    ),
    (
        lambda: rp.REBAR()(small_vae(rp.Gaussian(2)), torch.rand(2, 6)),
        TypeError,
        "Normal; REBAR takes Bernoulli and one-hot Categorical latents.*Pathwise",
    ),
    (
        lambda: rp.ReinMax()(rp.relax(small_vae(rp.Bernoulli(2)), 0.5), torch.rand(2, 6)),
        TypeError,
        "the latent is a relaxed distribution; ReinMax",
    ),
    (
        lambda: rp.LocalExpectation()(small_vae(rp.Gaussian(2)), torch.rand(2, 6)),
        TypeError,
        "LocalExpectation takes.*Use RLOO",
    ),
    (lambda: rp.RLOO(4, rp.iwae), ValueError, "bound is iwae; RLOO estimates the gradient of elbo.*VIMCO"),
    (lambda: rp.RLOO(4, rp.renyi), TypeError, "bound is <class.*renyi"),
    (lambda: rp.Pathwise(bound=rp.iwae, gradient="stl"), ValueError, 'gradient="stl" with the bound iwae.*"dreg"'),
    (lambda: rp.Pathwise(gradient="dreg"), ValueError, 'gradient="dreg" with the bound elbo; it is derived for iwae'),
    (lambda: rp.Pathwise(gradient="stl", kl="analytic"), ValueError, 'kl="analytic" with gradient="stl"'),
    (
        lambda: rp.Pathwise(bound=rp.beta_elbo(2.0), kl="sampled"),
        ValueError,
        'kl="sampled" with beta_elbo_2.*kl="auto"',
    ),
    (
        lambda: rp.Relaxed(kl="relaxed", bound=rp.beta_elbo(2.0)),
        ValueError,
        'kl="relaxed" with beta_elbo_2.*kl="exact"',
    ),
    (lambda: rp.NVIL("mlp"), TypeError, "network is 'mlp'; it must be an nn.Module"),
    (
        lambda: rp.NVIL(rp.mlp(6, [4], 2))(small_vae(rp.Bernoulli(2)), torch.rand(3, 6)),
        ValueError,
        r"made \(3, 2\) of 3 rows; it must give one number each",
    ),
    (
        lambda: rp.RELAX(rp.mlp(4, [4], 1))(small_vae(rp.Bernoulli(2)), torch.rand(3, 6)),
        ValueError,
        r"the network of z and x cannot take inputs of shape \(3, 8\)",
    ),
    (
        lambda: rp.NVIL(rp.mlp(6, [4], 1))(small_vae(rp.Bernoulli(2)).double(), torch.rand(3, 6).double()),
        ValueError,
        r"torch.float64.*estimator.to\(dtype\)",
    ),
    (
        lambda: rp.MuProp()(Lookup(), torch.rand(3, 6)),
        ValueError,
        "the likelihood has no gradient in z, which MuProp.*RLOO",
    ),
    (lambda: rp.REBAR()(Lookup(), torch.rand(3, 6)), ValueError, "the likelihood has no gradient in z, which REBAR"),
    (lambda: rp.RLOO(lambda step: 0).at(3), ValueError, "the num samples that the schedule gives for step 3 is 0"),
    (lambda: rp.REINFORCE(lambda step: math.nan).at(3), ValueError, "that the schedule gives for step 3 is nan"),
    (lambda: rp.RELAX(3), TypeError, "network is 3; it must be an nn.Module from z and x"),
    (lambda: rp.REBAR(temperature=0.0), ValueError, "temperature is 0.0; it must be finite and above 0"),
    (lambda: rp.REINFORCE(decay=1.0), ValueError, "decay is 1.0; it must be below 1"),
    (lambda: rp.REINFORCE(baseline="mean"), ValueError, "baseline is 'mean'; it must be one of 'none', 'average'"),
    (
        lambda: rp.RLOO(lambda step: 3)(small_vae(rp.Bernoulli(2)), torch.rand(3, 6)),
        ValueError,
        "num_samples is a schedule",
    ),
    (
        lambda: rp.Enumerate(3, rp.iwae)(small_vae(rp.Bernoulli(7)), torch.rand(2, 6)),
        ValueError,
        "3 draws of 128 states have 2097152 tuples.*VIMCO",
    ),
    (lambda: rp.Stages((5, rp.RLOO(2))), ValueError, r"the stages begin at steps \[5\]; the first must begin at 0"),
    (lambda: rp.Stages((0, rp.RLOO)), TypeError, "a stage is <class.*rp.RLOO"),
    (
        lambda: rp.Stages((0, rp.RLOO(2)))(small_vae(rp.Bernoulli(2)), torch.rand(2, 6)),
        ValueError,
        "Stages is a plan over steps",
    ),
    (
        lambda: rp.MuProp()(small_vae(rp.Bernoulli(2), observation=rp.Bernoulli(6)), torch.rand(2, 5)),
        ValueError,
        r"x has shape \(2, 5\)",
    ),
    (lambda: rp.cosine(1.0, num_steps=5, warmup=5), ValueError, "warmup is 5 of 5 steps"),
    (
        lambda: rp.surrogates.unordered_set(torch.zeros(1, 2), torch.zeros(1, 2)),
        ValueError,
        "1 samples; it takes from 2 to 8",
    ),
    (
        lambda: rp.RLOO(4, bound=rp.free_bits(0.1))(
            small_vae(rp.TorchFamily(torch.distributions.StudentT, 2)), torch.rand(2, 6)
        ),
        ValueError,
        "free_bits_0.1 needs the KL in closed form",
    ),
]


@pytest.mark.parametrize(("act", "error", "message"), REFUSALS, ids=[case[2][:40] for case in REFUSALS])
def test_refusals_give_the_value_the_rule_and_the_remedy(act, error, message):
    with pytest.raises(error, match=message):
        act()
