"""A resumed run is the training that was begun: what else was asked for is refused, or warned of, by name."""

import json
import re

import numpy as np
import pytest
import torch
from helpers import small_vae, weights

import reparam as rp
from reparam.runs import resume
from reparam.training.run import read_record

X = torch.rand(24, 6, generator=torch.Generator().manual_seed(0))
APART = torch.rand(10, 6, generator=torch.Generator().manual_seed(1))


def fit(folder, *, epochs=1, dtype=torch.float32, estimator=None, optimizer=None, validation=(), **options):
    torch.manual_seed(1)
    model = small_vae(rp.Bernoulli(3)).to(dtype)
    if optimizer is not None:
        options["optimizer"] = optimizer(model.parameters())
    if validation is not None:
        options["validation"] = rp.Validation(**{"data": APART, "num_samples": 2, **dict(validation)})
    run = rp.Run(folder, resume=True, pictures=False, **options.pop("run", {}))
    rp.fit(model, estimator or rp.REBAR(), X, epochs=epochs, batch_size=8, run=run, **options)
    return model


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "begun"
    fit(folder)
    return folder


def adam(**options):
    return {"optimizer": lambda parameters: torch.optim.Adam(parameters, lr=1e-3, **options)}


class Another(rp.REBAR):
    """An estimator that no text stands for."""


REFUSED = [
    ({"control_lr": 0.5}, "training {'control_lr': 0.001}, and this is {'control_lr': 0.5}"),
    ({"clip": 1.0}, "training {'clip': None}, and this is {'clip': 1.0}"),
    ({"validation": None}, "training {'validation': {'data': "),
    ({"validation": {"every": 2}}, "{'validation': {'every': 1}}, and this is {'validation': {'every': 2}}"),
    ({"validation": {"num_samples": 3}}, "{'validation': {'num_samples': 2}}, and"),
    ({"validation": {"bound": "iwae"}}, "{'validation': {'bound': 'elbo'}}, and"),
    (
        {"validation": {"patience": 3}},
        "{'validation': {'patience': None}}, and this is {'validation': {'patience': 3}}",
    ),
    ({"validation": {"data": APART + 1e-3}}, "{'validation': {'data': {'checksum': "),
    ({"dtype": torch.float64}, "training {'dtype': 'float32'}, and this is {'dtype': 'float64'}"),
    (adam(betas=(0.5, 0.999)), "{'optimizer_options': {'betas': [0.9, 0.999]}}, and"),
    (adam(amsgrad=True), "{'optimizer_options': {'amsgrad': None}}, and"),
    (adam(weight_decay=0.1), "{'optimizer_options': {'weight_decay': None}}, and"),
    ({"estimator": Another()}, "estimator REBAR(), and this is None"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message[:60] for _, message in REFUSED])
def test_another_training_is_refused_by_what_differs(begun, change, message):
    before = (begun / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        fit(begun, epochs=2, **change)
    assert "Resume it as it was, or choose another folder" in str(caught.value)
    assert (begun / "metrics.jsonl").read_bytes() == before


def test_estimators_without_a_text_are_told_apart_by_their_class(tmp_path):
    class Other(Another):
        pass

    fit(tmp_path / "run", estimator=Another())
    with pytest.raises(ValueError, match=r"with the estimator test_resume_settings.Another, and this is .*Other"):
        fit(tmp_path / "run", estimator=Other(), epochs=2)


def test_the_same_training_goes_on_however_it_is_written_down_or_computed(tmp_path):
    """More epochs, another interval of metrics; torch's Adam in place of fit's own, which takes the same steps."""
    whole, folder = tmp_path / "whole", tmp_path / "run"
    expected = weights(fit(whole, epochs=2))
    fit(folder)
    found = weights(fit(folder, epochs=2, run={"log_every": 1, "checkpoint_seconds": 0}, **adam()))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_control_lr_is_not_compared_where_there_is_nothing_to_control(tmp_path):
    fit(tmp_path / "run", estimator=rp.RLOO(2))
    fit(tmp_path / "run", estimator=rp.RLOO(2), epochs=2, control_lr=0.5)


@pytest.mark.parametrize(("name", "other"), [("device", "mps"), ("compile", True)])
def test_what_only_rounds_otherwise_is_warned_of(tmp_path, name, other):
    fit(tmp_path / "run")
    path = tmp_path / "run" / "experiment.json"
    record = json.loads(path.read_text())
    record["training"][name] = other
    path.write_text(json.dumps(record))
    with pytest.warns(
        UserWarning, match=f"begun with {name} {other} and goes on with {name} .*not be the same to the last"
    ):
        fit(tmp_path / "run", epochs=2)


def test_runs_of_before_these_were_recorded_go_on(tmp_path):
    fit(tmp_path / "run")
    path = tmp_path / "run" / "experiment.json"
    record = json.loads(path.read_text())
    record["training"] = {name: record["training"][name] for name in ("batch_size", "optimizer", "lr", "clip")}
    path.write_text(json.dumps(record))
    fit(tmp_path / "run", epochs=2, control_lr=0.5)


def test_a_lengthened_experiment_is_validated_at_its_new_end(tmp_path):
    """`evaluate_every=0` means once, at the end, so that the interval is another one when the run is lengthened."""
    np.save(tmp_path / "x.npy", (X.numpy() * 255).astype(np.uint8))
    small = {"epochs": 1, "hidden": (4,), "data": str(tmp_path / "x.npy"), "validation": 6, "final_samples": 2}
    experiment = rp.presets["gaussian"].replace(**small, evaluate_every=0, batch_size=8)
    rp.train(experiment, rp.Run(tmp_path / "run", pictures=False))
    assert resume(tmp_path / "run", epochs=2)["epochs"] == 2
    assert read_record(tmp_path / "run")["training"]["validation"]["every"] == 2
    path = tmp_path / "run" / "experiment.json"
    path.write_text(path.read_text().replace('"evaluation_samples": 1', '"evaluation_samples": 3'))
    with pytest.raises(ValueError, match=r"'num_samples': 1}}, and this is .*'num_samples': 3}}"):
        resume(tmp_path / "run", epochs=3)
