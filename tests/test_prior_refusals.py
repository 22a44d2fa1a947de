"""What cannot be a prior, or cannot be used with one, is refused with a remedy."""

import math

import pytest
import torch
from helpers import Makes
from priors import model_with
from torch import nn
from torch.distributions import Independent, Normal

import reparam as rp
from reparam.distributions import Mixture
from reparam.families.flow import Flow, import_zuko
from reparam.priors import AutoregressivePrior, LearnedPrior, MixturePrior, VampPrior

zuko = import_zuko()


def vae(prior, latent=None):
    latent = latent or rp.Gaussian(2)
    return rp.VAE(
        latent, rp.Bernoulli(4), rp.mlp(4, [], latent.num_params), rp.mlp(latent.num_features, [], 4), prior=prior
    )


REFUSED = [
    (lambda: vae(Independent(Normal(torch.zeros(2), 1.0), 1)), TypeError, r"prior is a Independent, a distribution, .*not follow model.to\(device\).*rp.LearnedPrior\(latent\)"),
    (lambda: vae(zuko.flows.NSF), TypeError, r"prior is <class .*; it must be None or an nn.Module. Pass a module"),
    (lambda: vae(lambda: Normal(0.0, 1.0)), TypeError, "must be None or an nn.Module"),
    (lambda: vae(nn.Linear(2, 2)), TypeError, r"whose forward\(\) cannot be called without arguments: .* Pass a module"),
    (lambda: vae(Makes(torch.zeros(2))), TypeError, "a module that makes a Tensor; it must make a Distribution"),
    (lambda: vae(zuko.flows.NSF(features=3)), ValueError, r"the prior has event shape \(3,\) .* one draw of Gaussian\(shape=2\) has shape \(2,\)"),
    (lambda: vae(Makes(Normal(torch.zeros(2), 1.0))), ValueError, r"event shape \(\) and batch shape \(2,\).*Wrap per-element"),
    (lambda: vae(Makes(Independent(Normal(torch.zeros(5, 2), 1.0), 1))), ValueError, r"batch shape \(5,\); .* a prior has no batch axes"),
    (lambda: LearnedPrior(20), TypeError, r"latent is 20; it must be the model's latent family"),
    (lambda: LearnedPrior(Flow(rp.Gaussian(2), "maf")), TypeError, r"latent is Flow\(Gaussian\(shape=2\)\), and the map of Flow.* is the posterior's.*its base: Gaussian\(shape=2\)"),
    (lambda: MixturePrior(rp.Gaussian(2), 0), ValueError, "num_components is 0; it must be at least 1"),
    (lambda: MixturePrior(Flow(rp.Gaussian(2), "maf"), 3), TypeError, "is the posterior's"),
    (lambda: VampPrior(rp.Gaussian(2), torch.relu, torch.rand(3, 4)), TypeError, "encoder is .*; it must be the model's encoder"),
    (lambda: VampPrior(2, nn.Linear(4, 4), torch.rand(3, 4)), TypeError, "latent is 2; it must be"),
    (lambda: VampPrior(rp.Gaussian(2), nn.Linear(4, 4), 500), TypeError, r"pseudo_inputs is a int; .* data.train\[:500\]"),
    (lambda: VampPrior(rp.Gaussian(2), nn.Linear(4, 4), torch.ones(3, 4).byte()), TypeError, "pseudo_inputs is torch.uint8; it must be a floating-point tensor"),
    (lambda: VampPrior(rp.Gaussian(2), nn.Linear(4, 4), torch.rand(4)), ValueError, r"shape \(4,\); they must be \[M, \*x\]"),
    (lambda: VampPrior(rp.Gaussian(2), nn.Linear(4, 4), torch.full((3, 4), math.nan)), ValueError, "pseudo_inputs hold NaN or Inf"),
    (lambda: vae(VampPrior(rp.Gaussian(2), nn.Linear(4, 4), torch.rand(3, 5))), ValueError, "the prior cannot be made: mat1 and mat2 shapes"),
    (lambda: AutoregressivePrior(rp.Gaussian(2), [8]), TypeError, r"over rp.Bernoulli or rp.Categorical.*zuko.flows.NSF"),
    (lambda: AutoregressivePrior(rp.Bernoulli(2), 8), TypeError, r"hidden is 8; it must be a list of widths"),
    (lambda: AutoregressivePrior(rp.Bernoulli(2), [0]), ValueError, "a hidden width is 0; it must be at least 1"),
    (lambda: Mixture(torch.zeros(3), Normal(torch.zeros(3, 2), 1.0)), ValueError, r"logits have shape \(3,\) .* batch shape \(3, 2\)"),
    (lambda: rp.Relaxed()(model_with("autoregressive bits"), torch.rand(2, 6)), TypeError, r"Autoregressive has no relaxation.*RLOO .*LearnedPrior"),
    (lambda: rp.Relaxed(kl="relaxed")(model_with("mixture of bits"), torch.rand(2, 6)), TypeError, r"Mixture.* has no relaxation.*LearnedPrior"),
    (lambda: rp.MuProp()(model_with("autoregressive bits"), torch.rand(2, 6)), ValueError, "needs the KL in closed form.*RLOO"),
    (lambda: rp.Enumerate()(vae(AutoregressivePrior(rp.Bernoulli(17), [4]), rp.Bernoulli(17)), torch.rand(2, 4)), ValueError, r"2\*\*17 joint states"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "kind", "message"), REFUSED, ids=[m[:40] for _, _, m in REFUSED])
def test_refusals(act, kind, message):
    with pytest.raises(kind, match=message):
        act()
