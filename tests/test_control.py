"""What fit adjusts besides the weights: the learning rate, and the estimator's own parameters."""

import copy
import math

import pytest
import torch
from helpers import small_vae, weights
from torch import nn

import reparam as rp


def test_the_learning_rate_follows_its_schedule():
    model, rates = small_vae(rp.Gaussian(2)), []
    schedule = rp.cosine(1e-2, num_steps=6, warmup=2)

    class Watching(torch.optim.Adam):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    rp.fit(
        model,
        rp.Pathwise(),
        torch.rand(24, 6),
        epochs=2,
        batch_size=8,
        lr=schedule,
        optimizer=Watching(model.parameters(), lr=7.0),
    )
    assert rates == pytest.approx([schedule(step) for step in range(6)])
    assert rates[1] == pytest.approx(1e-2)
    twin = small_vae(rp.Gaussian(2))
    before = weights(twin)
    rp.fit(twin, rp.Pathwise(), torch.rand(24, 6), epochs=1, batch_size=8, lr=rp.cosine(0.1, num_steps=2))
    step = weights(twin)
    rp.fit(
        twin, rp.Pathwise(), torch.rand(24, 6), epochs=1, lr=lambda step: 0.0, start_step=0
    )  # fit's own Adam follows too
    assert torch.equal(weights(twin), step)
    assert not torch.equal(before, step)


def test_control_variates_learn_by_their_own_loss_and_leave_the_model_alone():
    """Only the estimator's parameters follow `control_loss`; with them fixed the model is trained just the same."""
    x = torch.rand(64, 6)
    trained = []
    for control_lr in (1e-9, 1e-2):
        torch.manual_seed(0)
        model, estimator = small_vae(rp.Bernoulli(4)), rp.REBAR()
        estimate = estimator(model, x)
        model.zero_grad()
        estimate.control_loss.backward(inputs=list(estimator.parameters()))
        assert all(p.grad is None for p in model.parameters())
        before = estimator.log_temperature.item()
        rp.fit(model, estimator, x, epochs=30, batch_size=32, control_lr=control_lr)
        trained.append(abs(estimator.log_temperature.item() - before))
    assert trained[0] < 1e-6
    assert trained[1] > 0.02


def test_a_learned_baseline_predicts_the_signal():
    model, x = small_vae(rp.Bernoulli(4)), torch.rand(64, 6)
    nvil = rp.NVIL(rp.mlp(6, [16], 1))
    rp.fit(model, nvil, x, epochs=5, control_lr=1e-9, lr=1e-9)  # the running average alone
    before = nvil(model, x.repeat(20, 1)).control_loss.item()
    rp.fit(model, nvil, x, epochs=150, control_lr=1e-2, lr=1e-9)
    assert nvil(model, x.repeat(20, 1)).control_loss.item() < 0.7 * before


@pytest.mark.parametrize(
    "estimator", [rp.NVIL(rp.mlp(6, [4], 1)), rp.REBAR(), rp.Stages((0, rp.REBAR()), (9, rp.RLOO(2)))], ids=str
)
def test_what_an_estimator_learned_is_in_its_state_dict(estimator):
    model = small_vae(rp.Bernoulli(3))
    twin = copy.deepcopy(estimator)
    rp.fit(model, estimator, torch.rand(16, 6), epochs=4, batch_size=8, control_lr=0.1)
    assert any(not torch.equal(a, b) for a, b in zip(estimator.parameters(), twin.parameters(), strict=True))
    twin.load_state_dict(estimator.state_dict())
    found = []
    for each in (estimator, twin):
        torch.manual_seed(0)
        found.append(each.at(0)(model, torch.rand(8, 6)).control_loss)
    assert torch.equal(*found)


def test_a_float64_model_takes_its_estimator_along():
    model, estimator = small_vae(rp.Bernoulli(3)).double(), rp.RELAX(rp.mlp(9, [4], 1, nn.Tanh))
    rp.fit(model, estimator, torch.rand(16, 6), epochs=1)
    assert estimator.strength.dtype == torch.float64


def test_a_control_variate_that_breaks_is_put_back_with_the_model():
    model, estimator = small_vae(rp.Bernoulli(3)), rp.REBAR()

    class Breaking(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = estimator

        def at(self, step):
            return self

        def forward(self, model, x):
            estimate = self.inner(model, x)
            return rp.Estimate(estimate.loss, estimate.bound, "elbo", estimate.control_loss * math.inf)

    with pytest.raises(rp.TrainingDiverged):
        rp.fit(model, Breaking(), torch.rand(32, 6), epochs=2, batch_size=8)
    assert weights(model).isfinite().all()
    assert estimator.log_temperature.isfinite()
