"""What a run, an evaluation and a command make of a training that diverges: good weights, strict files, one line."""

import math

import pytest
import torch
from commands import SMALL, call, save_images
from diverging import MOMENTS, STEPS, broken, examples, starts_of_epochs, strict, vae, write_large, write_nan
from helpers import weights
from torch import nn
from torch.distributions import Independent, Normal

import reparam as rp
from reparam.cli.show import measured
from reparam.not_finite import NotFinite
from reparam.training.checkpoint import read_checkpoint, write_checkpoint
from reparam.training.run import checkpoints

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
