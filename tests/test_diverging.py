"""A training that diverges raises TrainingDiverged, whatever meets the bad numbers first, and leaves good weights."""

import math
import re

import pytest
import torch
from commands import SMALL, call, save_images
from diverging import STEPS, broken, examples, starts_of_epochs, strict, vae
from helpers import LinearGaussian, weights
from torch import nn
from torch.distributions import Independent, Normal

import reparam as rp
from reparam.cli.show import measured
from reparam.not_finite import NotFinite
from reparam.training.checkpoint import read_checkpoint, write_checkpoint
from reparam.training.guard import Guard
from reparam.training.run import checkpoints

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
MOMENTS = {"first step": 0, "last step of an epoch": STEPS - 1, "middle": STEPS + 2, "last of all": 2 * STEPS - 1}


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
        assert caught.value.step in (step, step + 1)
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


def write_nan(model):
    with torch.no_grad():
        model.decoder[0].weight[0, 0] = math.nan


def write_large(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e30)


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


RUNS = {
    "plain": {},
    "metrics at each step": {"log_every": 1},
    "a checkpoint at each step": {"checkpoint_seconds": 0},
    "both": {"log_every": 1, "checkpoint_seconds": 0},
}


@pytest.mark.parametrize("validated", [False, True], ids=["", "validation"])
@pytest.mark.parametrize("options", RUNS)
@pytest.mark.parametrize("how", ["lr", "NaN"])
def test_a_run_keeps_good_weights_and_strict_files(how, options, validated, tmp_path):
    for name, step in MOMENTS.items():
        torch.manual_seed(0)
        model, folder = vae(rp.Gaussian(2), rp.Bernoulli(16)), tmp_path / name
        x = torch.rand(40, 16)
        more = {"validation": x[:8]} if validated else {}
        starts, note = starts_of_epochs(model)
        more |= {"run": rp.Run(folder, **RUNS[options]), **broken(model, how, step)}
        with pytest.raises(rp.TrainingDiverged):
            rp.fit(model, rp.Pathwise(), x, epochs=2, batch_size=8, on_epoch=note, **more)
        assert torch.equal(weights(model), starts[step // STEPS])
        read = strict(folder)
        assert "summary.json" not in read
        for which in ("auto", "last"):
            kept = rp.load(folder, checkpoint=which)
            assert rp.evaluate(kept, x, num_samples=2).elbo.value > -1e4
        assert not any(line["kind"] == "validation" and line["step"] > step for line in read["metrics.jsonl"])


def test_a_resumed_training_goes_back_to_what_it_was_resumed_with(tmp_path):
    """It stops in the middle of the second epoch, and breaks two steps later."""
    torch.manual_seed(0)
    x, run = examples(), rp.Run(tmp_path / "run", checkpoint_seconds=0, resume=True)

    class Failing(rp.Pathwise):
        def __call__(self, model, batch):
            if steps and next(steps) == 7:
                raise KeyboardInterrupt
            return super().__call__(model, batch)

    steps = iter(range(100))
    model = vae(rp.Gaussian(2))
    with pytest.raises(KeyboardInterrupt):
        rp.fit(model, Failing(), x, epochs=3, batch_size=8, run=run, lr=lambda step: 1e30 if step >= 9 else 1e-3)
    steps, kept = None, rp.load(tmp_path / "run", checkpoint="last")
    again = vae(rp.Gaussian(2))
    with pytest.raises(rp.TrainingDiverged, match="those that the training was resumed with in epoch 2"):
        rp.fit(again, Failing(), x, epochs=3, batch_size=8, run=run, lr=lambda step: 1e30 if step >= 9 else 1e-3)
    assert torch.equal(weights(again), weights(kept))
    strict(tmp_path / "run")


def test_a_checkpoint_that_holds_nan_is_not_gone_on_with(tmp_path):
    """No training writes one; an older version or another program may have."""
    folder = tmp_path / "run"
    rp.fit(vae(rp.Gaussian(2)), rp.Pathwise(), examples(), epochs=1, batch_size=8, run=folder)
    tree = read_checkpoint(checkpoints(folder)[-1])
    tree["model"]["encoder.0.weight"][0, 0] = math.nan
    write_checkpoint(checkpoints(folder)[-1], tree)
    with pytest.raises(rp.TrainingDiverged, match=r"encoder.0.weight is not finite.*load another checkpoint"):
        rp.fit(vae(rp.Gaussian(2)), rp.Pathwise(), examples(), epochs=2, batch_size=8, run=rp.Run(folder, resume=True))


class Judged(nn.Module):
    """A model that is NaN for the data that it is validated on, those with a first number above 2, or has no mean."""

    def __init__(self, inner, bad):
        super().__init__()
        self.inner, self.bad = inner, bad
        self.prior = inner.prior

    def posterior(self, x):
        loc = self.inner.posterior(x).mean
        odd = (x[:, :1] > 2) & (self.bad == "validation")
        return Independent(Normal(torch.where(odd, math.nan, loc), 1.0, validate_args=False), 1)

    def likelihood(self, z):
        made = self.inner.likelihood(z)
        if self.bad == "picture" and z.dim() == 2:  # pictures are of one draw
            return Independent(Normal(made.mean * math.nan, 1.0, validate_args=False), 1)
        return made


@pytest.mark.filterwarnings("ignore:.*is not drawn:UserWarning")
def test_validation_data_that_give_nan_end_the_training_and_a_picture_does_not(tmp_path):
    x = torch.rand(40, 16)
    model = Judged(vae(rp.Gaussian(2), rp.Gaussian(16)), "validation")
    starts, note = starts_of_epochs(model)
    with pytest.raises(rp.TrainingDiverged, match=r"in the validation a bound .* batch 0: .*draw z") as caught:
        rp.fit(model, rp.Pathwise(), x, epochs=2, batch_size=8, on_epoch=note, validation=x + 3, run=tmp_path / "one")
    assert torch.equal(weights(model), starts[0])
    assert caught.value.step == 4
    strict(tmp_path / "one")
    rp.fit(Judged(vae(rp.Gaussian(2), rp.Gaussian(16)), "picture"), rp.Pathwise(), x, epochs=1, run=tmp_path / "two")
    assert "summary.json" in strict(tmp_path / "two")


@pytest.mark.parametrize("latent", [rp.Gaussian(2), rp.Gaussian(2, covariance="full"), rp.Bernoulli(3), rp.Gamma(2)])
@pytest.mark.parametrize("write", [write_nan, write_large])
def test_evaluate_names_the_parameter_of_a_model_that_cannot_be_computed(write, latent):
    model = vae(latent)
    write(model)
    with pytest.raises(ValueError, match=r"parameter (encoder|decoder)\.\d\.(weight|bias)"):
        rp.evaluate(model, examples(), num_samples=2)
    with pytest.raises(ValueError, match=r"parameter (encoder|decoder)\.\d\.(weight|bias)"):
        rp.evaluate(model, [examples()], num_samples=2)


def test_a_buffer_that_is_nan_is_named():
    model = vae(rp.Gaussian(2))
    model.encoder.insert(1, nn.BatchNorm1d(5))
    model.encoder[1].running_var[2] = math.nan
    with pytest.raises(ValueError, match=r"buffer encoder.1.running_var of the model holds NaN"):
        rp.evaluate(model, examples(), num_samples=2)


COMMANDS = {
    "Gaussian": ("gaussian", "--latent", "Gaussian(2)", "--lr", 1e30),
    "bits": ("bernoulli-rloo", "--latent", "Bernoulli(2)", "--lr", 1e30),
    "control": ("gaussian", "--latent", "Bernoulli(3)", "--estimator", "NVIL(mlp(64, [4], 1))", "--control-lr", 1e30),
    "a schedule": ("gaussian", "--lr", "linear(1e30, 1e29, steps)"),
}


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("batch_size", [50, 180], ids=["many steps", "one step an epoch"])
@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_ends_with_1_and_does_not_advise_what_must_fail(name, batch_size, epochs, capsys, tmp_path):
    data, run = save_images(tmp_path / "d.npy"), tmp_path / "run"
    given = ("--data", data, "--validation", 20, *SMALL[:2], "--epochs", epochs, "--batch-size", batch_size)
    code, _, err = call(capsys, "train", *COMMANDS[name], *given, "--run", run, "--log-every", 1)
    if name == "control" and batch_size == 180 and epochs == 1:  # nothing has used the broken baseline yet
        assert code == 0
        return
    assert code == 1
    assert err.count("\n") == 1
    assert "reparam: training stopped at step " in err
    assert "reparam resume" not in err
    assert "A resume takes the same steps to the same end, so train anew" in err
    assert ("Lower control_lr" if name == "control" else "Lower the learning rate") in err
    strict(run)
    code, _, again = call(capsys, "resume", run)
    assert code == 1
    assert "training stopped at step " in again
    assert call(capsys, "evaluate", run, "--num-samples", 1)[0] == 0


def test_a_mean_that_is_not_finite_is_said_so():
    assert measured({"value": None, "standard_error": None}) == "not finite"


def test_a_divergence_on_the_test_data_is_one_too(capsys, tmp_path, monkeypatch):
    """The summary's bounds, measured after the training."""

    def fails(*args, **kwargs):
        raise NotFinite("a bound is NaN in batch 3: log p(x|z) is not finite.")

    monkeypatch.setattr("reparam.runs.training.evaluate", fails)
    data, run = save_images(tmp_path / "d.npy"), tmp_path / "run"
    code, _, err = call(capsys, "train", "gaussian", *SMALL, "--data", data, "--run", run)
    assert code == 1
    assert "on the test data a bound is NaN in batch 3: log p(x|z) is not finite" in err
    assert "training stopped at step 3 with loss " in err
    strict(run)
