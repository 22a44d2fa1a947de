"""A VampPrior is the even mixture of the posteriors at its pseudo-inputs, and shares the encoder of the model."""

import copy
import math

import pytest
import torch
from helpers import small_vae
from torch import nn

import reparam as rp
from reparam.priors import VampPrior


@pytest.mark.parametrize("latent", [rp.Gaussian(2), rp.Bernoulli(3)], ids=str)
def test_a_vamp_prior_is_the_even_mixture_of_the_posteriors_at_its_pseudo_inputs(latent, float64):
    plain = small_vae(latent)
    u = torch.rand(5, 6)
    model = rp.VAE(latent, plain.observation, plain.encoder, plain.decoder, VampPrior(latent, plain.encoder, u))
    z = model.prior().sample((20,))
    each = torch.stack([model.posterior(row[None]).log_prob(z) for row in u])
    torch.testing.assert_close(model.prior().log_prob(z), each.logsumexp(0) - math.log(5))


def vamp_model():
    latent, encoder = rp.Gaussian(2), rp.mlp(6, [5], 4)
    prior = VampPrior(latent, encoder, torch.rand(4, 6))
    return rp.VAE(latent, rp.Bernoulli(6), encoder, rp.mlp(2, [5], 6), prior=prior)


def test_a_vamp_prior_shares_the_encoder_in_parameters_checkpoints_and_copies():
    model = vamp_model()
    encoder_and_decoder = sum(p.numel() for m in (model.encoder, model.decoder) for p in m.parameters())
    assert sum(p.numel() for p in model.parameters()) == encoder_and_decoder + 4 * 6
    other = vamp_model()
    other.load_state_dict(model.state_dict())
    z = torch.randn(7, 2)
    assert torch.equal(other.prior().log_prob(z), model.prior().log_prob(z))
    for twin in (copy.deepcopy(model), other.double()):
        assert twin.prior_module.encoder is twin.encoder
    before = copy.deepcopy(model)
    rp.fit(model, rp.Pathwise(), torch.rand(20, 6), epochs=1, batch_size=5, lr=0.05)
    assert model.prior_module.encoder[0].weight is model.encoder[0].weight
    assert not torch.equal(model.encoder[0].weight, before.encoder[0].weight)
    assert not torch.equal(model.prior_module.pseudo_inputs, before.prior_module.pseudo_inputs)


def test_pseudo_inputs_stay_in_range_and_can_come_back():
    prior = VampPrior(rp.Gaussian(2), nn.Linear(3, 4), torch.tensor([[0.0, 0.5, 1.0]]))
    optimizer = torch.optim.SGD([prior.pseudo_inputs], lr=1.0)
    for slope, expected in (([0.3, 0.1, -0.3], [0.0, 0.4, 1.0]), ([-0.5, 0.1, 0.5], [0.2, 0.3, 0.8])):
        optimizer.zero_grad()
        (prior.within() * torch.tensor([slope])).sum().backward()
        optimizer.step()
        torch.testing.assert_close(prior.within(), torch.tensor([expected]))
    with torch.no_grad():
        prior.pseudo_inputs.copy_(torch.tensor([[-0.5, 0.5, 1.5]]))
    (prior.within() * torch.tensor([[1.0, 1.0, -1.0]])).sum().backward()
    optimizer.zero_grad()
    (prior.within() * torch.tensor([[1.0, 1.0, -1.0]])).sum().backward()
    assert prior.pseudo_inputs.grad.tolist() == [[0.0, 1.0, 0.0]]


def test_a_vamp_prior_keeps_its_own_copy_of_the_examples_in_the_encoders_precision():
    examples = torch.rand(4, 6)
    prior = VampPrior(rp.Gaussian(2), nn.Linear(6, 4).double(), examples)
    assert prior.pseudo_inputs.dtype == torch.float64
    with torch.no_grad():
        prior.pseudo_inputs.zero_()
    assert examples.sum() > 0


def test_looking_at_a_prior_does_not_train_the_batch_norm_of_its_encoder():
    encoder = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    prior = VampPrior(rp.Gaussian(2), encoder, torch.rand(4, 6))
    rp.VAE(rp.Gaussian(2), rp.Bernoulli(6), encoder, rp.mlp(2, [], 6), prior=prior)
    assert encoder[1].num_batches_tracked == 0
    assert encoder[1].training
