"""A prior that is trained gains what the standard one loses."""

import copy
import math

import pytest
import torch

import reparam as rp
from reparam.families.flow import import_zuko
from reparam.priors import AutoregressivePrior, LearnedPrior, MixturePrior, VampPrior

zuko = import_zuko()


def test_a_flow_prior_trains_and_is_evaluated():
    torch.manual_seed(0)
    z = torch.randn(256, 1)
    x = torch.cat([z, z.square() / 2 - 1, -z], 1) + 0.1 * torch.randn(256, 3)
    latent = rp.Gaussian(2)
    prior = zuko.flows.NSF(features=2, transforms=1, hidden_features=[16])
    model = rp.VAE(latent, rp.Gaussian(3), rp.mlp(3, [16], 4), rp.mlp(2, [16], 6), prior=prior)
    before = rp.evaluate(model, x, num_samples=20)
    weight = prior.transform.transforms[0].hyper[0].weight.detach().clone()
    epochs = rp.fit(model, rp.Pathwise(), x, epochs=5, lr=3e-3)
    after = rp.evaluate(model, x, num_samples=20)
    assert epochs[-1].name == "elbo"
    assert after.elbo.value > before.elbo.value + 0.3
    assert after.elbo.value <= after.iwae.value
    assert not torch.equal(prior.transform.transforms[0].hyper[0].weight, weight)
    assert rp.sample(model, 3).shape == (3, 3)


@pytest.fixture(scope="module")
def standard_model():
    """A model of 1000 images with the standard prior, trained a little."""

    def train(latent, estimator):
        torch.manual_seed(0)
        images = rp.mnist("dynamic").train
        x = torch.bernoulli(images.values[:1000].float() / 255).reshape(1000, -1)
        decoder = rp.mlp(latent.num_features, [64], 784, output_bias=images.mean_logits())
        model = rp.VAE(latent, rp.Bernoulli(784), rp.mlp(784, [64], latent.num_params), decoder)
        rp.fit(model, estimator, x, epochs=12, batch_size=50, lr=3e-3)
        return model, x

    return {"reals": train(rp.Gaussian(5), rp.Pathwise()), "bits": train(rp.Bernoulli(16), rp.RLOO(4))}


@pytest.mark.parametrize(
    ("kind", "make", "gain"),
    [
        ("reals", lambda z, encoder, x: LearnedPrior(z), 0.02),
        ("reals", lambda z, encoder, x: MixturePrior(z, 10), 0.1),
        ("reals", lambda z, encoder, x: VampPrior(z, encoder, x[:100]), 0.1),
        ("reals", lambda z, encoder, x: zuko.flows.NSF(5, transforms=2, hidden_features=[32]), 0.1),
        ("bits", lambda z, encoder, x: LearnedPrior(z), 0.02),
        ("bits", lambda z, encoder, x: MixturePrior(z, 10), 0.1),
        ("bits", lambda z, encoder, x: AutoregressivePrior(z, [64]), 0.5),
    ],
    ids=["learned", "mixture", "vamp", "nsf", "learned bits", "mixture of bits", "autoregressive bits"],
)
def test_fitting_the_prior_alone_improves_the_bound_over_the_standard_one(kind, make, gain, standard_model):
    """Encoder and decoder stay: then all that the bound gains is the distance of the standard prior."""
    plain, x = standard_model[kind]
    plain = copy.deepcopy(plain)
    prior = make(plain.latent, plain.encoder, x)
    model = rp.VAE(plain.latent, plain.observation, plain.encoder, plain.decoder, prior=prior)
    own = [p for name, p in prior.named_parameters() if not name.startswith("encoder")]
    optimizer = torch.optim.Adam(own, lr=0.02)
    rp.fit(model, rp.Pathwise() if kind == "reals" else rp.RLOO(2), x, epochs=4, batch_size=50, optimizer=optimizer)
    before, after = (rp.evaluate(m, x, num_samples=10) for m in (plain, model))
    noise = math.hypot(before.elbo.monte_carlo_error, after.elbo.monte_carlo_error)
    assert after.elbo.value > before.elbo.value + gain + 3 * noise
    torch.testing.assert_close(after.distortion.value, before.distortion.value)
