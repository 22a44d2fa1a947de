"""A training that diverges raises TrainingDiverged, whatever meets the bad numbers first, and leaves good weights."""

import math
import re

import pytest
import torch
from diverging import MOMENTS, STEPS, broken, examples, starts_of_epochs, vae, write_large, write_nan
from helpers import LinearGaussian, weights
from torch import nn
from torch.distributions import Independent, Normal

import reparam as rp
from reparam.training.guard import Guard

MODELS = {
    "Gaussian": lambda: (rp.Gaussian(2), rp.Pathwise()),
    "Gaussian, score function": lambda: (rp.Gaussian(2), rp.RLOO(2)),
    "full covariance": lambda: (rp.Gaussian(2, covariance="full"), rp.Pathwise()),
    "low rank": lambda: (rp.Gaussian(3, covariance=1), rp.RLOO(2)),
    "Gamma": lambda: (rp.Gamma(2), rp.Pathwise()),
    "Poisson": lambda: (rp.Poisson(2), rp.RLOO(2)),
    "von Mises": lambda: (rp.VonMises(2), rp.Pathwise()),
    "power spherical": lambda: (rp.PowerSpherical(3), rp.Pathwise()),
    "Dirichlet": lambda: (rp.Dirichlet(2, 3), rp.Pathwise()),
    "bits": lambda: (rp.Bernoulli(3), rp.RLOO(2)),
    "bits, relaxed": lambda: (rp.Bernoulli(3), rp.Relaxed(0.5)),
    "bits, baseline": lambda: (rp.Bernoulli(3), rp.NVIL(rp.mlp(6, [4], 1))),
    "bits, enumerated": lambda: (rp.Bernoulli(3), rp.Enumerate()),
    "bits, local": lambda: (rp.Bernoulli(3), rp.LocalExpectation()),
    "bits, wake-sleep": lambda: (rp.Bernoulli(3), rp.RWS(2)),
    "symbols": lambda: (rp.Categorical(2, 3), rp.REBAR()),
    "symbols, sets": lambda: (rp.Categorical(2, 3), rp.UnorderedSet(2)),
}


@pytest.fixture(params=[1, 50], ids=["each step", "every 50 steps"])
def check_every(request, monkeypatch):
    """How often losses are looked at: each on a CPU, every 50th on an accelerator."""
    created = Guard.__init__

    def changed(self, *args):
        created(self, *args)
        self.check_every = request.param

    monkeypatch.setattr(Guard, "__init__", changed)
    return request.param


@pytest.mark.parametrize("how", ["lr", "NaN", "Inf"])
@pytest.mark.parametrize("name", MODELS)
def test_weights_are_those_at_the_beginning_of_the_epoch_that_broke_them(name, how, check_every):
    for step in MOMENTS.values():
        torch.manual_seed(0)
        latent, estimator = MODELS[name]()
        model = vae(latent)
        starts, note = starts_of_epochs(model)
        with pytest.raises(rp.TrainingDiverged) as caught:
            rp.fit(model, estimator, examples(), epochs=2, batch_size=8, on_epoch=note, **broken(model, how, step))
        assert torch.equal(weights(model), starts[step // STEPS]), step
        # infinite log-odds have a bound; what shows them is the update after it
        assert caught.value.step in (step, step + 1, step + 2 * (how == "Inf"))
        assert "Lower the learning rate" in str(caught.value)
        if how != "lr" and check_every == 1:
            assert "parameter encoder.0.weight is not finite" in str(caught.value)


@pytest.mark.parametrize(
    "observation",
    [
        rp.Gaussian(6, scale=0.5),
        rp.Bernoulli(6),
        rp.ContinuousBernoulli(6),
        rp.Poisson(6),
        rp.NegativeBinomial(6),
        rp.ZeroInflatedNegativeBinomial(6),
        rp.SharedScaleGaussian(6),
        rp.StudentT(6),
        rp.QuantizedCategorical(6, num_levels=4),
        rp.DiscretizedLogistic(6),
    ],
    ids=lambda family: type(family).__name__,
)
def test_of_each_likelihood(observation):
    """Of bits as data, which all of these take."""
    x = rp.Data(examples().round())
    for how in ("lr", "NaN", "Inf"):
        for step in MOMENTS.values():
            torch.manual_seed(0)
            model = vae(rp.Gaussian(2), observation)
            starts, note = starts_of_epochs(model)
            with pytest.raises(rp.TrainingDiverged):
                rp.fit(model, rp.Pathwise(), x, epochs=2, batch_size=8, on_epoch=note, **broken(model, how, step))
            assert torch.equal(weights(model), starts[step // STEPS])


@pytest.mark.parametrize("options", [{"clip": 1.0}, {"clip": 1e30}], ids=str)
def test_clipping_changes_nothing_about_it(options):
    model = vae(rp.Gaussian(2))
    before = weights(model).clone()
    with pytest.raises(rp.TrainingDiverged):
        rp.fit(model, rp.Pathwise(), examples(), epochs=1, batch_size=8, lr=1e30, **options)
    assert torch.equal(weights(model), before)


def test_weights_that_gave_the_bad_loss_are_not_gone_back_to():
    """One step an epoch: the weights at the beginning of the second epoch are those of the step that broke them."""
    model = vae(rp.Gaussian(2))
    starts, note = starts_of_epochs(model)
    with pytest.raises(rp.TrainingDiverged, match="weights are those at the beginning of epoch 1") as caught:
        rp.fit(model, rp.Pathwise(), examples(), epochs=5, batch_size=40, lr=1e30, on_epoch=note)
    assert caught.value.step == 1
    assert torch.equal(weights(model), starts[0])


def test_buffers_go_back_with_the_weights():
    model = vae(rp.Gaussian(2))
    model.encoder.insert(1, nn.BatchNorm1d(5))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(rp.TrainingDiverged):
        rp.fit(model, rp.Pathwise(), examples(), epochs=1, batch_size=8, lr=1e30)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Plain:
    """A model that is no module, its weights in a list."""

    def __init__(self):
        self.weights = [torch.randn(6, 4).requires_grad_(), torch.randn(2, 12).requires_grad_()]

    def prior(self):
        return rp.Gaussian(2).standard(torch.zeros(4))

    def posterior(self, x):
        return rp.Gaussian(2)(x @ self.weights[0])

    def likelihood(self, z):
        return rp.Gaussian(6).likelihood(z @ self.weights[1])


def test_tensors_of_a_plain_object_go_back_too():
    model = Plain()
    before = [tensor.detach().clone() for tensor in model.weights]
    optimizer = torch.optim.Adam(model.weights, lr=1e30)
    with pytest.raises(rp.TrainingDiverged):
        rp.fit(model, rp.Pathwise(), examples(), epochs=1, batch_size=8, optimizer=optimizer)
    assert all(torch.equal(tensor, value) for tensor, value in zip(model.weights, before, strict=True))


def test_the_same_optimizer_goes_on_with_the_weights_that_were_put_back():
    model = vae(rp.Gaussian(2))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x = examples()
    x[3] = 1e25
    with pytest.raises(rp.TrainingDiverged):
        rp.fit(model, rp.Pathwise(), [x], epochs=3, optimizer=optimizer)
    rp.fit(model, rp.Pathwise(), [examples()], epochs=3, optimizer=optimizer)
    assert weights(model).isfinite().all()


class Validated(LinearGaussian):
    """Whose scale is an exponential, and underflows to a zero that torch's validation refuses: no number is NaN."""

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))

    def posterior(self, x):
        return Independent(Normal(x[:, :2], self.log_scale.exp().expand(len(x), 2), validate_args=True), 1)


def test_a_scale_that_underflows_is_a_divergence_where_torch_refuses_it():
    model = Validated()
    starts, note = starts_of_epochs(model)

    def shrink(epoch):
        note(epoch)
        with torch.no_grad():
            model.log_scale.fill_(-200.0)

    with pytest.raises(rp.TrainingDiverged, match=r"the model fails with these weights alone .*GreaterThan") as caught:
        rp.fit(model, rp.Pathwise(), torch.randn(40, 3), epochs=2, batch_size=8, on_epoch=shrink)
    assert isinstance(caught.value.__cause__, ValueError)
    assert torch.equal(weights(model), starts[0])


def test_an_error_of_the_model_itself_stays_what_it_is():
    class Misshapen(LinearGaussian):
        calls = 0

        def likelihood(self, z):
            self.calls += 1
            return super().likelihood(z if self.calls < 8 else z[..., :1])

    model = Misshapen()
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        rp.fit(model, rp.Pathwise(), torch.randn(40, 3), epochs=3, batch_size=8)

    def fail(epoch):
        raise KeyError("missing")

    with pytest.raises(KeyError):
        rp.fit(vae(rp.Gaussian(2)), rp.Pathwise(), examples(), epochs=1, on_epoch=fail)


def test_examples_of_probability_zero_are_no_divergence(tmp_path):
    """The bound of several samples is finite where that of one is not."""

    class Zeros(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = vae(rp.Gaussian(2), rp.Gaussian(6, scale=1.0))
            self.prior, self.posterior = self.inner.prior, self.inner.posterior

        def likelihood(self, z):
            made = self.inner.likelihood(z)
            original = made.log_prob
            made.log_prob = lambda x: original(x).masked_fill(z[..., 0] > 0.5, -math.inf)
            return made

    run = rp.Run(tmp_path / "run", checkpoint_seconds=0)
    rp.fit(Zeros(), rp.Pathwise(40, bound=rp.iwae), examples(), epochs=2, batch_size=8, run=run)


CONTROLLED = {
    "NVIL": (rp.Bernoulli(3), lambda: rp.NVIL(rp.mlp(6, [4], 1))),
    "REBAR": (rp.Bernoulli(3), rp.REBAR),
    "RELAX": (rp.Bernoulli(3), lambda: rp.RELAX(rp.mlp(9, [4], 1))),
    "REBAR of symbols": (rp.Categorical(2, 3), rp.REBAR),
    "NVIL of numbers": (rp.Gaussian(2), lambda: rp.NVIL(rp.mlp(6, [4], 1))),
}


@pytest.mark.parametrize("name", CONTROLLED)
def test_an_estimator_that_breaks_is_named_with_control_lr_and_put_back(name, check_every):
    torch.manual_seed(0)
    latent, made = CONTROLLED[name]
    model, estimator = vae(latent), made()
    before = [p.detach().clone() for p in (*model.parameters(), *estimator.parameters())]
    names = "|".join(re.escape(each) for each, _ in estimator.named_parameters())
    with pytest.raises(rp.TrainingDiverged, match=rf"the estimator's parameter ({names}) .*Lower control_lr"):
        rp.fit(model, estimator, examples(), epochs=2, batch_size=8, control_lr=1e30)
    now = (*model.parameters(), *estimator.parameters())
    assert all(torch.equal(p, value) for p, value in zip(now, before, strict=True))


@pytest.mark.parametrize("row", [0, 25], ids=["first", "later"])
@pytest.mark.parametrize("name", MODELS)
def test_data_that_overflow_are_named(name, row):
    latent, estimator = MODELS[name]()
    model, x = vae(latent), examples()
    x[row] = 1e30
    before = weights(model).clone()
    with pytest.raises(rp.TrainingDiverged, match=r"the batch x reaches 1e\+30") as caught:
        rp.fit(model, estimator, x, epochs=2, batch_size=8)
    assert torch.equal(weights(model), before)
    if caught.value.step == 0:
        assert "Look at the batch and the scale of its values" in str(caught.value)


def test_weights_that_come_broken_are_refused(tmp_path):
    for latent, estimator in (MODELS["Gaussian"](), MODELS["bits"]()):
        model = vae(latent)
        with torch.no_grad():
            model.decoder[0].bias[1] = math.nan
        with pytest.raises(rp.TrainingDiverged, match=r"parameter decoder.0.bias is not finite.*Build the model anew"):
            rp.fit(model, estimator, examples(), epochs=1, run=tmp_path / "run")
        assert not list((tmp_path / "run").glob("*.json"))


@pytest.mark.parametrize("write", [write_nan, write_large])
@pytest.mark.parametrize("epoch", [1, 3], ids=["first", "last"])
@pytest.mark.parametrize("kept", [False, True], ids=["no run", "run"])
def test_weights_broken_by_on_epoch_are_noticed(kept, epoch, write, tmp_path):
    model = vae(rp.Gaussian(2))
    starts, note = starts_of_epochs(model)

    def ruin(now):
        note(now)
        if now.number == epoch:
            write(model)

    options = {"run": rp.Run(tmp_path / "run", checkpoint_seconds=0)} if kept else {}
    with pytest.raises(rp.TrainingDiverged):
        rp.fit(model, rp.Pathwise(), examples(), epochs=3, batch_size=8, on_epoch=ruin, **options)
    assert torch.equal(weights(model), starts[epoch - 1])
    if kept:
        assert rp.evaluate(rp.load(tmp_path / "run"), examples(), num_samples=2).elbo.value > -math.inf


def test_what_on_epoch_raises_over_broken_weights_is_the_divergence():
    model = vae(rp.Gaussian(2))

    def evaluated(epoch):
        rp.evaluate(model, examples(), num_samples=2)

    with pytest.raises(rp.TrainingDiverged) as caught:
        rp.fit(model, rp.Pathwise(), examples(), epochs=1, batch_size=8, on_epoch=evaluated, **broken(model, "lr", 4))
    assert isinstance(caught.value.__cause__, ValueError)
