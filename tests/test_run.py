"""The folder of a run: what it holds, what it refuses, and the model that it gives back."""

import json
import math
import os

import pytest
import torch
from helpers import small_vae, weights
from torch import nn

import reparam as rp
from reparam.training.checkpoint import read_checkpoint, write_checkpoint
from reparam.training.run import checkpoints


def fit(folder, *, latent=None, epochs=2, **options):
    torch.manual_seed(1)
    model = small_vae(latent or rp.Bernoulli(3))
    x = torch.rand(40, 6, generator=torch.Generator().manual_seed(0))
    given = {"batch_size": 8, "run": folder, **options}
    return model, rp.fit(model, rp.RLOO(2), x, epochs=epochs, **given)


def lines(folder, kind):
    return [
        each for each in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()) if each["kind"] == kind
    ]


def test_a_run_gives_its_model_back(tmp_path):
    model, _ = fit(tmp_path / "run")
    loaded = rp.load(tmp_path / "run")
    assert isinstance(loaded, rp.VAE)
    assert not loaded.training
    assert torch.equal(weights(loaded), weights(model))
    x = torch.rand(5, 6)
    assert rp.evaluate(loaded, x, num_samples=3) == rp.evaluate(model, x, num_samples=3)


def test_loading_uses_up_no_random_number(tmp_path):
    fit(tmp_path / "run")
    torch.manual_seed(5)
    rp.load(tmp_path / "run")
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), after)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_model_comes_back_in_its_precision(tmp_path, dtype):
    model = small_vae(rp.Gaussian(2)).to(dtype)
    rp.fit(model, rp.Pathwise(), torch.rand(20, 6, dtype=dtype), epochs=1, run=tmp_path / "run")
    assert weights(rp.load(tmp_path / "run")).dtype == dtype


def test_a_model_of_the_users_own_is_filled_in(tmp_path):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.vae = small_vae(rp.Gaussian(2))
            self.prior, self.posterior, self.likelihood = self.vae.prior, self.vae.posterior, self.vae.likelihood

    model = Own()
    rp.fit(model, rp.Pathwise(), torch.rand(20, 6), epochs=1, run=tmp_path / "run")
    with pytest.raises(ValueError, match=r"is a test_run\..*Own, which cannot be built from text.*model=your_model"):
        rp.load(tmp_path / "run")
    other = Own()
    assert rp.load(tmp_path / "run", model=other) is other
    assert torch.equal(weights(other), weights(model))
    with pytest.raises(ValueError, match=r"saved weights are not those of this VAE: .*Build it as it was"):
        rp.load(tmp_path / "run", model=small_vae(rp.Gaussian(2)))


def test_the_best_weights_are_those_of_the_best_exact_bound(tmp_path):
    """The learning rate explodes in the third epoch; what is kept is the second."""
    seen = {}

    def note(epoch):
        seen[epoch.number] = weights(model).clone()

    torch.manual_seed(1)
    model = small_vae(rp.Gaussian(2))
    x = torch.rand(40, 6)
    rates = {0: 1e-3, 1: 1e-3, 2: 3.0}
    rp.fit(
        model,
        rp.Pathwise(),
        x,
        epochs=3,
        batch_size=8,
        lr=lambda step: rates[step // 5],
        validation=rp.Validation(x, num_samples=2),
        run=tmp_path / "run",
        on_epoch=note,
    )
    bounds = [line["elbo"]["value"] for line in lines(tmp_path / "run", "validation")]
    assert bounds[2] < bounds[1]
    best = max(range(3), key=bounds.__getitem__) + 1
    assert torch.equal(weights(rp.load(tmp_path / "run")), seen[best])
    assert torch.equal(weights(rp.load(tmp_path / "run", checkpoint="last")), seen[3])
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["best"] == {"bound": "elbo", "value": bounds[best - 1], "epoch": best}
    assert bounds[2] == rp.evaluate(model, x, num_samples=2).elbo.value


def test_training_stops_when_the_exact_bound_gets_no_better(tmp_path):
    model, x = small_vae(rp.Gaussian(2)), torch.rand(40, 6)
    validation = rp.Validation(x, patience=2)
    history = rp.fit(
        model,
        rp.Pathwise(),
        x,
        epochs=50,
        lr=lambda step: 1e-12 if step else 1.0,
        validation=validation,
        run=tmp_path / "run",
    )
    assert len(history) < 50
    flags = [line["best"] for line in lines(tmp_path / "run", "validation")]
    assert flags[-2:] == [False, False]
    assert flags[-3]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["stopped_early"]
    again = rp.fit(
        model,
        rp.Pathwise(),
        x,
        epochs=50,
        lr=lambda step: 1.0,
        validation=validation,
        run=rp.Run(tmp_path / "run", resume=True),
    )
    assert len(again) == len(history)


def test_validation_changes_no_bit_of_the_training():
    found = []
    for validation in (None, rp.Validation(torch.rand(30, 6), num_samples=3)):
        torch.manual_seed(1)
        model = small_vae(rp.Bernoulli(3))
        x = torch.rand(40, 6)
        rp.fit(model, rp.RLOO(2), x, epochs=2, batch_size=8, validation=validation)
        found.append(weights(model))
    assert torch.equal(*found)


def test_a_run_changes_no_bit_of_the_training(tmp_path):
    """Metrics, pictures and checkpoints draw from random numbers of their own."""
    found = []
    for run in (None, rp.Run(tmp_path / "run", checkpoint_seconds=0, log_every=1)):
        torch.manual_seed(1)
        latent = rp.Bernoulli(3)
        model = rp.VAE(latent, rp.Bernoulli(16), rp.mlp(16, [8], 3), rp.mlp(3, [8], 16))
        rp.fit(model, rp.RLOO(2), rp.Data(torch.rand(40, 16), "dynamic"), epochs=2, batch_size=8, run=run)
        found.append(weights(model))
    assert torch.equal(*found)
    assert len(list((tmp_path / "run" / "pictures").iterdir())) == 4


def test_every_value_of_the_metrics_stands_under_the_name_of_its_bound(tmp_path):
    _, history = fit(rp.Run(tmp_path / "run", log_every=2), validation=rp.Validation(torch.rand(30, 6), num_samples=3))
    train, epochs = lines(tmp_path / "run", "train"), lines(tmp_path / "run", "epoch")
    assert [line["step"] for line in train] == [2, 4, 7, 9]
    assert all({"elbo", "kl", "lr", "images_per_second", "epoch"} <= line.keys() for line in train)
    assert [line["elbo"] for line in epochs] == [-epoch.loss for epoch in history]
    measured = lines(tmp_path / "run", "validation")[0]
    assert {"elbo", "iwae_3", "log_likelihood_3", "rate", "distortion", "active_units", "best"} <= measured.keys()
    assert measured["elbo"]["value"] < measured["iwae_3"]["value"]


def test_the_kl_of_the_metrics_is_that_of_the_batch(tmp_path):
    """All examples are one batch, so the KL after the epoch is that of the data under the final weights."""
    torch.manual_seed(1)
    model, x = small_vae(rp.Gaussian(2)), torch.rand(40, 6)
    rp.fit(model, rp.Pathwise(), x, epochs=1, run=rp.Run(tmp_path / "run", log_every=1))
    with torch.no_grad():
        kl = torch.distributions.kl_divergence(model.posterior(x), model.prior()).mean().item()
    assert lines(tmp_path / "run", "train")[0]["kl"] == pytest.approx(kl, rel=1e-6)


def test_the_temperature_stands_in_the_metrics(tmp_path):
    model, x = small_vae(rp.Bernoulli(3)), torch.rand(40, 6)
    schedule = rp.linear(1.0, 0.5, 10)
    rp.fit(model, rp.Relaxed(schedule), x, epochs=1, batch_size=8, run=rp.Run(tmp_path / "run", log_every=5))
    line = lines(tmp_path / "run", "train")[0]
    assert line["temperature"] == schedule(5)
    assert "surrogate" in line


def test_two_checkpoints_and_the_best_are_kept(tmp_path):
    fit(rp.Run(tmp_path / "run", checkpoint_seconds=0), validation=torch.rand(30, 6))
    names = [path.name for path in checkpoints(tmp_path / "run")]
    assert names == ["step-000000010.000002.safetensors", "step-000000010.000003.safetensors"]
    assert sorted(each.name for each in (tmp_path / "run" / "checkpoints").iterdir()) == ["best.safetensors", *names]


def test_the_record_names_versions_data_and_commit(tmp_path):
    fit(tmp_path / "run")
    record = json.loads((tmp_path / "run" / "experiment.json").read_text())
    assert record["model"].startswith("VAE(Bernoulli(3), ")
    assert record["estimator"] == "RLOO(num_samples=2)"
    assert record["versions"]["torch"] == torch.__version__
    x = torch.rand(40, 6, generator=torch.Generator().manual_seed(0))
    assert record["data"]["checksum"] == rp.data.checksum(rp.Data(x))
    assert record["data"]["examples"] == 40


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda f: fit(f / "run"), ValueError, "holds a run already, and nothing is overwritten.*resume=True"),
        (
            lambda f: fit(f / "other"),
            ValueError,
            r"is not empty and holds no run \(experiment.json is missing; there is notes",
        ),
        (lambda f: fit(f / "notes"), OSError, "File exists"),
        (
            lambda f: fit(rp.Run(f / "run", resume=True), batch_size=4),
            ValueError,
            "is a run with the training .*Resume it as",
        ),
        (lambda f: fit(rp.Run(f / "run", resume=True), latent=rp.Bernoulli(4)), ValueError, "run with the model VAE"),
        (lambda f: rp.load(f / "nothing"), FileNotFoundError, "holds no run: there is no experiment.json"),
        (
            lambda f: rp.load(f / "run", checkpoint="best"),
            FileNotFoundError,
            "no best checkpoint; it had no validation",
        ),
        (lambda f: rp.load(f / "run", checkpoint="first"), ValueError, "must be one of 'auto', 'best', 'last'"),
        (lambda f: rp.Run(f, resume=True, overwrite=True), ValueError, "resume and overwrite are both asked for"),
        (lambda f: rp.Run(f, checkpoint_seconds=-1), ValueError, "checkpoint_seconds is -1; it must be at least 0"),
        (lambda f: rp.Validation(1, patience=0), ValueError, "patience is 0; it must be at least 1"),
        (lambda f: rp.Validation(1, bound="tvo"), ValueError, "bound is 'tvo'; it must be one of 'elbo', 'iwae'"),
    ],
)
def test_refusals_give_the_value_the_rule_and_the_remedy(act, error, message, tmp_path):
    fit(tmp_path / "run")
    (tmp_path / "other" / "notes").mkdir(parents=True)
    (tmp_path / "notes").write_text("mine")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(error, match=message):
        act(tmp_path)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    assert (tmp_path / "notes").read_text() == "mine"


def test_overwriting_removes_the_old_run_and_nothing_else(tmp_path):
    fit(tmp_path / "run", epochs=3)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    model, _ = fit(rp.Run(tmp_path / "run", overwrite=True), epochs=1)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    assert len(lines(tmp_path / "run", "epoch")) == 1
    assert torch.equal(weights(rp.load(tmp_path / "run")), weights(model))


def test_a_run_is_written_by_one_process_at_a_time(tmp_path):
    def another(epoch):
        with pytest.raises(ValueError, match="is being written by another process"):
            fit(rp.Run(tmp_path / "run", resume=True), epochs=1)

    fit(tmp_path / "run", epochs=1, on_epoch=another)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"model": 3}', "\x00", '{"model": "__import__(\'os\')"}'])
def test_a_record_edited_to_nonsense_is_a_clear_error(text, tmp_path):
    fit(tmp_path / "run")
    (tmp_path / "run" / "experiment.json").write_text(text)
    with pytest.raises(ValueError, match=r"experiment.json|cannot be built from text|__import__"):
        rp.load(tmp_path / "run")


def test_a_checkpoint_gives_back_any_tree(tmp_path):
    tree = {
        "numbers": [1, 2.5, math.inf, -0.0, True, None, "text"],
        "tensors": {3: torch.arange(4), (1, "a")[1]: torch.tensor(2.0, dtype=torch.bfloat16)},
        "empty": [torch.zeros(0), {}, []],
        "twice": [one := torch.rand(2, 3).t(), one],
    }
    path = write_checkpoint(tmp_path / "a.safetensors", tree)
    found = read_checkpoint(path)
    assert found["numbers"] == tree["numbers"]
    assert math.copysign(1, found["numbers"][3]) == -1
    assert torch.equal(found["tensors"][3], torch.arange(4))
    assert found["tensors"]["a"].dtype == torch.bfloat16
    assert found["tensors"]["a"].shape == ()
    assert found["empty"][0].shape == (0,)
    assert found["empty"][1:] == [{}, []]
    assert torch.equal(found["twice"][0], one)
    assert torch.equal(found["twice"][1], one)
    with pytest.raises(TypeError, match="model/0 is a set; a checkpoint holds tensors"):
        write_checkpoint(path, {"model": [{1}]})
    assert torch.equal(read_checkpoint(path)["tensors"][3], torch.arange(4))


def test_a_checkpoint_of_a_kind_that_is_pickled_is_not_read(tmp_path):
    torch.save({"model": torch.zeros(3)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="is damaged"):
        read_checkpoint(tmp_path / "a.safetensors")


def test_an_estimator_that_learns_is_in_the_checkpoint(tmp_path):
    estimator = rp.NVIL(rp.mlp(6, [4], 1))
    rp.fit(small_vae(rp.Bernoulli(3)), estimator, torch.rand(40, 6), epochs=1, run=tmp_path / "run")
    saved = read_checkpoint(checkpoints(tmp_path / "run")[-1])["estimator"]
    assert all(torch.equal(saved[name], value) for name, value in estimator.state_dict().items())


def test_tensorboard_gets_the_metrics(tmp_path):
    pytest.importorskip("tensorboard")
    fit(rp.Run(tmp_path / "run", log_every=2, tensorboard=True))
    assert [path for path in os.listdir(tmp_path / "run" / "tensorboard") if "tfevents" in path]


def test_broken_weights_do_not_become_the_newest_checkpoint(tmp_path):
    """The loss of step 3 is finite, its gradient is not."""

    class Breaking:
        step = 0

        def at(self, step):
            self.step = step
            return self

        def __call__(self, model, x):
            estimate = rp.Pathwise()(model, x)
            if self.step < 3:
                return estimate
            zero = sum(p.sum() for p in model.parameters()) * 0
            return rp.Estimate(estimate.loss + zero.sqrt(), estimate.bound, "elbo")

    torch.manual_seed(1)
    model = small_vae(rp.Gaussian(2))
    run = rp.Run(tmp_path / "run", checkpoint_seconds=0)
    with pytest.raises(rp.TrainingDiverged, match="is not finite"):
        rp.fit(model, Breaking(), torch.rand(40, 6), epochs=1, batch_size=4, run=run)
    saved = read_checkpoint(checkpoints(tmp_path / "run")[-1])
    assert saved["progress"]["step"] == 3
    assert all(value.isfinite().all() for value in saved["model"].values())
