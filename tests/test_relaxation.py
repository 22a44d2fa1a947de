"""relax(model, t): another model, whose parts are those of the exact one, relaxed."""

import pytest
import torch
from helpers import small_vae
from torch.distributions import Independent

import reparam as rp
from reparam.relaxation import exact_distribution, relax_distribution, squash


@pytest.mark.parametrize("latent", [rp.Bernoulli(3), rp.Categorical(2, 3)], ids=["Bernoulli", "Categorical"])
def test_the_likelihood_sees_the_latent_of_the_exact_models_space(latent):
    model, x = small_vae(latent), torch.rand(4, 6)
    for hard in (False, True):
        relaxed = rp.relax(model, 0.5, straight_through=hard)
        y = relaxed.posterior(x).sample((5,))
        z = (
            y.sigmoid() if isinstance(latent, rp.Bernoulli) else y.softmax(-1)
        )  # y is on the log-simplex: softmax is exp
        if hard:
            one_hot = torch.nn.functional.one_hot
            z = z.round() if isinstance(latent, rp.Bernoulli) else one_hot(z.argmax(-1), 3).float()
        torch.testing.assert_close(relaxed.likelihood(y).mean, model.likelihood(z).mean)


@pytest.mark.parametrize("binary", [True, False])
def test_straight_through_is_hard_forwards_and_soft_backwards(binary):
    y = torch.randn(7, 4).requires_grad_() if binary else torch.randn(7, 4).log_softmax(-1).requires_grad_()
    weight = torch.randn(7, 4)
    hard, soft = (squash(y, binary=binary, hard=h) for h in (True, False))
    assert set(hard.detach().unique().tolist()) == {0.0, 1.0}
    (through,) = torch.autograd.grad((hard * weight).sum(), y)
    (smooth,) = torch.autograd.grad((soft * weight).sum(), y)
    assert through.abs().sum() > 0
    torch.testing.assert_close(through, smooth)


def test_the_exact_distribution_comes_back():
    for family in (rp.Bernoulli((2, 2)), rp.Categorical(2, 3)):
        exact = family(torch.randn(5, family.num_params))
        again = exact_distribution(relax_distribution(exact, 0.3))
        z = exact.sample((3,))
        torch.testing.assert_close(again.log_prob(z), exact.log_prob(z))
    with pytest.raises(TypeError, match="Normal is not one of reparam's relaxed distributions"):
        exact_distribution(torch.distributions.Normal(0.0, 1.0))


def test_torchs_own_discrete_distributions_are_relaxed_too():
    logits = torch.randn(5, 3)
    coins = Independent(torch.distributions.Bernoulli(logits=logits), 1)
    assert relax_distribution(coins, 0.5).rsample().shape == (5, 3)
    assert relax_distribution(torch.distributions.OneHotCategorical(logits=logits), 0.5).rsample().shape == (5, 3)
