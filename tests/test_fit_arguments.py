"""Arguments of `fit` that look right and would train something else, and what a run records of them."""

import copy
import json

import numpy as np
import pytest
import torch
from helpers import small_vae, weights
from torch import nn
from torch.utils.data import DataLoader

import reparam as rp

X = torch.rand(20, 6).round()


def fit(model=None, **options):
    model = model or small_vae(rp.Bernoulli(3))
    return model, rp.fit(
        model, options.pop("estimator", rp.RLOO(2)), options.pop("data", X), **{"epochs": 1, **options}
    )


def recorded(folder):
    return json.loads((folder / "experiment.json").read_text())


def test_an_optimizer_of_another_model_is_refused():
    model = small_vae(rp.Bernoulli(3))
    stray = torch.optim.Adam(copy.deepcopy(model).parameters())
    with pytest.raises(ValueError, match="Adam holds 8 parameters, and none of them is a trainable parameter"):
        fit(model, optimizer=stray)
    frozen = small_vae(rp.Bernoulli(3))
    held = torch.optim.Adam(frozen.parameters())
    frozen.requires_grad_(False)
    with pytest.raises(ValueError, match="none of them is a trainable parameter"):
        fit(frozen, optimizer=held)


def test_an_optimizer_of_a_part_of_the_model_is_taken():
    model = small_vae(rp.Bernoulli(3))
    encoder, decoder = weights(model.encoder), weights(model.decoder)
    fit(model, optimizer=torch.optim.SGD(model.decoder.parameters(), lr=0.1))
    assert torch.equal(weights(model.encoder), encoder)
    assert not torch.equal(weights(model.decoder), decoder)


def test_a_number_as_lr_beside_an_optimizer_is_refused_and_a_schedule_is_followed():
    model = small_vae(rp.Bernoulli(3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"lr is 0\.01 beside an optimizer, whose own learning rate is 0\.1"):
        fit(model, optimizer=optimizer, lr=0.01)
    fit(model, optimizer=optimizer, lr=rp.linear(0.5, 0.7, num_steps=2), batch_size=10)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.6)


def test_a_scheduler_of_torch_as_lr_is_refused_with_where_it_goes():
    model = small_vae(rp.Bernoulli(3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    kinds = torch.optim.lr_scheduler
    for scheduler in (kinds.StepLR(optimizer, 3), kinds.ReduceLROnPlateau(optimizer)):
        with pytest.raises(TypeError, match=rf"lr is torch's {type(scheduler).__name__};.*on_epoch=lambda"):
            fit(model, optimizer=optimizer, lr=scheduler)
    halved = kinds.StepLR(optimizer, step_size=1, gamma=0.5)
    fit(model, optimizer=optimizer, on_epoch=lambda epoch: halved.step(), epochs=3)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / 8)


def test_schedules_go_on_in_a_loop_of_fits():
    """Three epochs at once, and one at a time with the same optimizer, end in the same weights."""
    estimator = rp.Relaxed(rp.exponential(1.0, 0.1, rate=0.1), kl="relaxed")
    lr = rp.linear(0.1, 0.0, num_steps=6)
    ends = []
    for in_a_loop in (False, True):
        torch.manual_seed(3)
        model = small_vae(rp.Bernoulli(3))
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        same = {"estimator": estimator, "lr": lr, "optimizer": optimizer, "batch_size": 10}
        if in_a_loop:
            steps = 0
            for _ in range(3):
                steps = fit(model, start_step=steps, **same)[1][-1].steps
            assert steps == 6
        else:
            fit(model, epochs=3, **same)
        ends.append(weights(model))
    assert torch.equal(*ends)


@pytest.mark.parametrize("scheduled", [{"lr": rp.linear(0.1, 0.0, 4)}, {"estimator": rp.Relaxed(rp.linear(1.0, 0.5, 4))}],
                         ids=["lr", "estimator"])  # fmt: skip
def test_schedules_that_start_again_are_warned_of(scheduled):
    model, _ = fit(batch_size=10)
    with pytest.warns(UserWarning, match="for 2 steps before.*start_step=2 to continue them"):
        fit(model, **scheduled)
    fit(model, start_step=0, **scheduled)  # no warning, as it is said
    fit(model)  # nor where nothing is scheduled
    fit(small_vae(rp.Bernoulli(3)), **scheduled)  # nor for another model


def test_a_run_records_the_batch_size_and_rate_that_were_used(tmp_path):
    model = small_vae(rp.Bernoulli(3))
    groups = [{"params": model.encoder.parameters(), "lr": 0.2}, {"params": model.decoder.parameters(), "lr": 0.3}]
    torch.manual_seed(11)
    fit(model, data=DataLoader(X, 5), optimizer=torch.optim.SGD(groups), run=tmp_path / "a")
    found = recorded(tmp_path / "a")
    assert (
        found["training"] | {"batch_size": 5, "optimizer": "SGD", "lr": [0.2, 0.3], "clip": None} == found["training"]
    )
    assert found["seed"] == 11
    fit(model, data=list(X.split(7)), lr=0.01, run=tmp_path / "b")
    assert recorded(tmp_path / "b")["training"]["batch_size"] is None
    assert recorded(tmp_path / "b")["training"]["lr"] == 0.01


def test_a_run_of_format_1_is_resumed_although_its_batch_size_and_rate_were_not_recorded(tmp_path):
    model = small_vae(rp.Bernoulli(3))
    sgd = torch.optim.SGD(model.parameters(), lr=0.2)
    same = {"data": DataLoader(X, 5), "optimizer": sgd}
    fit(model, run=tmp_path, **same)
    old = recorded(tmp_path)
    old["training"] |= {"batch_size": 128, "lr": 0.001}
    del old["seed"]
    (tmp_path / "experiment.json").write_text(json.dumps({**old, "format": 1}))
    assert len(fit(model, epochs=2, run=rp.Run(tmp_path, resume=True), **same)[1]) == 2
    (tmp_path / "experiment.json").write_text(json.dumps({**old, "format": 2}))
    with pytest.raises(ValueError, match=r"run with the training \{'batch_size': 128, 'lr': 0\.001\}"):
        fit(model, epochs=3, run=rp.Run(tmp_path, resume=True), **same)


@pytest.mark.parametrize("name", ["model", "model_is", "data", "training", "estimator_why", "versions", "seed"])
def test_about_does_not_replace_what_a_run_records(name, tmp_path):
    with pytest.raises(ValueError, match=rf"about has the name '{name}', which experiment\.json uses itself"):
        rp.Run(tmp_path, about={name: "mine"})


def test_an_experiment_in_about_must_be_one(tmp_path):
    with pytest.raises(ValueError, match="the experiment is 'mine'; it must be an object with"):
        rp.Run(tmp_path, about={"experiment": "mine"})


def test_train_keeps_the_options_of_its_run(tmp_path):
    experiment = rp.presets["gaussian"].replace(data=str(tmp_path / "x.npy"), hidden=(4,), latent="Gaussian(2)", epochs=1,
                                                batch_size=4, protocol="static")  # fmt: skip
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 2, (20, 6)).astype(np.float32))
    run = rp.Run(tmp_path / "run", log_every=2, checkpoint_seconds=0.0, about={"why": "a test"})
    rp.train(experiment, run)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [2, 4]
    found = recorded(tmp_path / "run")
    assert found["why"] == "a test"
    assert found["experiment"] == experiment.to_values()
    rp.train(experiment, tmp_path / "other")
    assert '"train"' not in (tmp_path / "other/metrics.jsonl").read_text(), "without one, the experiment's 100 steps"


def with_batch_norm():
    encoder = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 4))
    return rp.VAE(rp.Gaussian(2), rp.Bernoulli(6), encoder, rp.mlp(2, [5], 6))


def test_batch_norm_and_a_last_batch_of_one_is_refused_before_training():
    same = {"estimator": rp.Pathwise(), "data": torch.rand(21, 6).round()}
    with pytest.raises(
        ValueError, match=r"21 examples in batches of 10 .* batch norm encoder.1 needs two.*drop_last=True"
    ):
        fit(with_batch_norm(), batch_size=10, **same)
    with pytest.raises(ValueError, match=r"in batches of 1 .*Raise batch_size"):
        fit(with_batch_norm(), batch_size=1, **same)
    _, (epoch,) = fit(with_batch_norm(), batch_size=10, drop_last=True, **same)
    assert epoch.steps == 2
    frozen = with_batch_norm()
    frozen.encoder[1].eval()
    assert fit(frozen, batch_size=10, **same)[1][0].steps == 3


def test_batch_norm_and_one_example_of_a_loader_is_named_when_it_comes():
    with pytest.raises(ValueError, match=r"a batch of one example.*drop_last"):
        fit(with_batch_norm(), estimator=rp.Pathwise(), data=DataLoader(torch.rand(5, 6).round(), 4))


def test_drop_last_leaves_out_the_short_batch_of_every_epoch(tmp_path):
    _, epochs = fit(batch_size=8, drop_last=True, epochs=2, run=tmp_path)
    assert [epoch.steps for epoch in epochs] == [2, 4]
    assert recorded(tmp_path)["training"]["drop_last"] is True
    with pytest.raises(ValueError, match="drop_last is True, and data is a DataLoader"):
        fit(data=DataLoader(X, 8), drop_last=True)


def test_batches_without_a_short_last_one():
    for shuffle in (False, True):
        batches = rp.Data(X).batches(8, shuffle=shuffle, drop_last=True)
        assert len(batches) == 2
        assert [len(x) for x in batches] == [8, 8]
        assert [len(x) for x in batches.starting_at(1)] == [8]
        assert [len(x) for x in rp.Data(X).batches(8, shuffle=shuffle)] == [8, 8, 4]
    assert list(rp.Data(X).batches(21, drop_last=True)) == []


def test_a_run_that_fails_after_its_first_step_is_kept(tmp_path):
    def fail(epoch):
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fit(run=tmp_path, on_epoch=fail)
    assert (tmp_path / "experiment.json").exists()
    assert list((tmp_path / "checkpoints").iterdir())
