"""fit: it trains, repeats itself, takes any data, and stops with the weights whole."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from helpers import LinearGaussian, small_vae, weights
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import reparam as rp
from reparam.training.guard import Guard


def test_fit_reaches_the_likelihood_of_a_linear_gaussian_model(float64):
    torch.manual_seed(0)
    truth, model = LinearGaussian(), LinearGaussian(looseness=1.0)
    x = truth.marginal().sample((4000,))
    before = rp.evaluate(model, x, num_samples=50).log_likelihood.value
    rp.fit(model, rp.Pathwise(), x, epochs=30, lr=1e-2)
    exact = truth.marginal().log_prob(x)
    after = rp.evaluate(model, x, num_samples=50).log_likelihood
    assert before < exact.mean().item() - 1
    assert after.value > exact.mean().item() - 0.05


def test_the_same_seed_gives_the_same_digits():
    def run():
        torch.manual_seed(3)
        model = small_vae(rp.Categorical(3, 4))
        x = torch.rand(200, 6)
        history = rp.fit(model, rp.RLOO(3), x, epochs=3, batch_size=64)
        return [epoch.loss for epoch in history], rp.evaluate(model, x, num_samples=7), weights(model)

    first, second = run(), run()
    assert first[0] == second[0]
    assert first[1] == second[1]
    assert torch.equal(first[2], second[2])


def test_an_epochs_loss_is_the_mean_over_examples_and_its_fields_are_true():
    model, x = small_vae(rp.Bernoulli(3)), torch.rand(10, 6)
    seen, bounds = [], []

    class Recording:
        def __call__(self, model, x):
            estimate = rp.Relaxed(0.5, kl="exact")(model, x)
            bounds.append(estimate.bound)
            return estimate

        def at(self, step):
            seen.append(step)
            return self

    epochs = rp.fit(model, Recording(), x, epochs=2, batch_size=4)
    assert epochs[1].loss == pytest.approx(-torch.cat(bounds[3:]).mean().item(), rel=1e-6)
    assert [e.number for e in epochs] == [1, 2]
    assert [e.steps for e in epochs] == [3, 6]
    assert epochs[0].name == "surrogate"
    assert seen == [0, 1, 2, 3, 3, 4, 5, 6]


def test_schedules_follow_the_step_across_epochs():
    model, x = small_vae(rp.Bernoulli(3)), torch.rand(10, 6)
    epochs = rp.fit(model, rp.Relaxed(rp.linear(1.0, 0.1, 6)), x, epochs=2, batch_size=4)
    assert [e.estimator.temperature for e in epochs] == pytest.approx([0.55, 0.1])


@pytest.mark.parametrize("kind", ["tensor", "array", "bytes", "Data", "loader", "list of arrays", "float64"])
def test_every_kind_of_data_goes_the_same_way(kind):
    x = (torch.rand(50, 6) * 255).to(torch.uint8)
    grey = x.float() / 255
    data = {
        "tensor": grey,
        "array": grey.numpy(),
        "bytes": x.numpy(),
        "Data": rp.Data(x, "grey"),
        "loader": DataLoader(TensorDataset(grey, torch.arange(50)), batch_size=16, shuffle=True),
        "list of arrays": [b.numpy() for b in grey.split(16)],
        "float64": grey.double(),
    }[kind]
    model = small_vae(rp.Gaussian(2))
    epochs = rp.fit(model, rp.Pathwise(), data, epochs=15, batch_size=16, lr=1e-2)
    assert epochs[-1].loss < epochs[0].loss
    assert epochs[-1].steps == 60


def test_a_float64_model_gets_float64_batches():
    model = small_vae(rp.Gaussian(2)).double()
    rp.fit(model, rp.Pathwise(), torch.rand(20, 6), epochs=1)
    assert rp.evaluate(model, torch.rand(20, 6)).elbo.value < 0


def test_a_foreign_optimizer_and_a_plain_object_will_do():
    inner = small_vae(rp.Gaussian(2))

    class Plain:
        prior, posterior, likelihood = inner.prior, inner.posterior, inner.likelihood

    before = weights(inner)
    rp.fit(Plain(), rp.Pathwise(), torch.rand(20, 6), epochs=1, optimizer=torch.optim.SGD(inner.parameters(), 0.1))
    assert not torch.equal(before, weights(inner))


def test_modes_are_what_the_user_chose():
    model = small_vae(rp.Gaussian(2))
    model.encoder.insert(2, nn.BatchNorm1d(5))
    model.encoder[2].eval()
    modes = []
    rp.fit(
        model,
        rp.Pathwise(),
        torch.rand(20, 6),
        epochs=2,
        on_epoch=lambda e: (modes.append(model.training), model.eval()),
    )
    assert modes == [True, True]
    assert model.training
    assert not model.encoder[2].training
    assert model.encoder[2].num_batches_tracked == 0
    model.eval()
    rp.fit(model, rp.Pathwise(), torch.rand(20, 6), epochs=1)
    assert model.encoder[2].num_batches_tracked == 1
    assert not model.training


class Failing:
    """An estimator whose loss, or only its gradient, is NaN from one step on."""

    def __init__(self, step, where):
        self.bad_step, self.where, self.step = step, where, 0

    def at(self, step):
        self.step = step
        return self

    def __call__(self, model, x):
        bound = rp.Pathwise()(model, x)
        loss = bound.loss
        if self.step >= self.bad_step:
            zero = sum(p.sum() for p in model.parameters()) * 0
            loss = loss * math.nan if self.where == "loss" else loss + zero.sqrt()
        return rp.Estimate(loss, bound.bound, "elbo")


@pytest.mark.parametrize("check_every", [1, 50])
@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize("step", [3, 9])
def test_a_nan_stops_training_names_the_step_and_leaves_good_weights(check_every, where, step, monkeypatch):
    """50 is how rarely an accelerator is looked at; 9 is the last step of an epoch of 10."""
    created = Guard.__init__

    def slower(self, *args):
        created(self, *args)
        self.check_every = check_every

    monkeypatch.setattr(Guard, "__init__", slower)
    model, x = small_vae(rp.Gaussian(2)), torch.rand(40, 6)
    before = weights(model).clone()
    with pytest.raises(rp.TrainingDiverged, match="training stopped at step") as caught:
        rp.fit(model, Failing(step, where), x, epochs=1, batch_size=4)
    assert torch.equal(weights(model), before)
    assert caught.value.restored
    assert "weights are those at the beginning of this epoch" in str(caught.value)
    if where == "loss":
        assert caught.value.step == step
    if where == "gradient" or check_every == 50:
        assert "parameter" in caught.value.term


def test_the_term_that_failed_is_named():
    class Overflowing(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner
            self.prior, self.posterior = inner.prior, inner.posterior

        def likelihood(self, z):
            return self.inner.observation.likelihood(torch.full((*z.shape[:2], 6), math.inf))

    with pytest.raises(
        rp.TrainingDiverged, match=r"step 0 with loss .*log p\(x\|z\) is not finite.*Look at the batch and the scale"
    ):
        rp.fit(Overflowing(small_vae(rp.Gaussian(2))), rp.Pathwise(), torch.rand(8, 6), epochs=1)


def test_a_model_with_torchs_validation_on_diverges_with_the_same_words():
    model = LinearGaussian()
    x = torch.randn(40, 3)
    with pytest.raises(rp.TrainingDiverged, match="parameter weight is not finite"):
        rp.fit(model, Failing(2, "gradient"), x, epochs=1, batch_size=4)


def test_a_divergence_travels_between_processes():
    error = rp.TrainingDiverged(3, math.nan, "log p(z) is not finite", False)
    for twin in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert str(twin) == str(error)
        assert twin.step == 3


def good():
    return small_vae(rp.Gaussian(2)), rp.Pathwise(), torch.rand(10, 6)


def call(model=None, estimator=None, data=None, **options):
    m, e, d = good()
    chosen = [b if a is None else a for a, b in ((model, m), (estimator, e), (data, d))]
    return rp.fit(*chosen, **{"epochs": 1, **options})


REFUSED = [
    (lambda: call(epochs=0), ValueError, "epochs is 0; it must be at least 1"),
    (lambda: call(batch_size=0), ValueError, "batch_size is 0"),
    (lambda: call(lr=-1.0), ValueError, "lr is -1.0; it must be finite and above 0"),
    (lambda: call(lr=lambda step: -0.1), ValueError, "the learning rate that the schedule gives for step 0 is -0.1"),
    (lambda: call(control_lr=0.0), ValueError, "control_lr is 0.0; it must be finite and above 0"),
    (lambda: call(estimator=rp.Pathwise), TypeError, r"estimator is <class .*an instance such as rp.Pathwise\(\)"),
    (lambda: call(estimator="rloo"), TypeError, "estimator is 'rloo'; it must be an instance"),
    (lambda: call(optimizer="adam"), TypeError, "optimizer is 'adam'; it must be an instance such as torch.optim.Adam"),
    (lambda: call(on_epoch="print"), TypeError, "on_epoch is 'print'; it must be a function"),
    (lambda: call(model=nn.Linear(6, 6)), TypeError, "model is a Linear without the method prior"),
    (lambda: call(model=rp.VAE), TypeError, "model is the class VAE"),
    (lambda: call(data="mnist"), TypeError, "data is a str; it must be Data, a tensor"),
    (lambda: call(data=rp.mnist()), TypeError, "data is a Splits; .*mnist.*.train"),
    (lambda: call(data=3), TypeError, "data is a int"),
    (lambda: call(data=[]), ValueError, "the data gave no batch. An empty loader"),
    (
        lambda: call(data=iter([torch.rand(4, 6)]), epochs=2),
        ValueError,
        "data is an iterator, which can be gone over once",
    ),
    (lambda: call(data=[{"x": torch.rand(4, 6)}]), TypeError, "x is a dict"),
    (lambda: call(data=torch.rand(4, 7)), ValueError, r"x has shape \(4, 7\), and one draw of the likelihood \(6,\)"),
    (lambda: call(data=torch.rand(4, 6) + 1), ValueError, "example 0 has values from .* outside the support"),
    (lambda: call(data=[torch.rand(4, 6), torch.rand(4, 6) * 3]), ValueError, "example [4-7] has values from"),
    (lambda: call(data=np.full((3, 6), np.nan)), ValueError, r"data hold nan at index \[0, 0\]"),
    (lambda: call(estimator=rp.Enumerate()), TypeError, "Normal cannot list its states"),
    (lambda: call(model=rp.relax(small_vae(rp.Bernoulli(2)), 0.5)), TypeError, "not an nn.Module, so its parameters"),
    (lambda: call(model=small_vae(rp.Gaussian(2)).requires_grad_(False)), ValueError, "nothing to train"),
]


@pytest.mark.parametrize(("act", "error", "message"), REFUSED, ids=[m[:40] for _, _, m in REFUSED])
def test_refusals_give_the_value_the_rule_and_the_remedy(act, error, message):
    with pytest.raises(error, match=message):
        act()


def test_the_gradient_is_no_longer_than_its_clip():
    """Steps of plain gradient descent at a rate of 1 are as long as the gradient."""
    model, x = small_vae(rp.Gaussian(2)), torch.rand(40, 6)
    lengths = []

    class Descent(torch.optim.SGD):
        def step(self):
            before = weights(model).clone()
            super().step()
            lengths.append((weights(model) - before).norm().item())

    rp.fit(model, rp.Pathwise(), x, epochs=1, batch_size=8, optimizer=Descent(model.parameters(), lr=1.0), clip=1e-3)
    assert lengths == pytest.approx([1e-3] * 5, rel=1e-2)
