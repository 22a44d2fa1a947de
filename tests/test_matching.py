"""A checkpoint whose digest is right may still be of another training: nothing of it is loaded then."""

import copy
import random

import numpy as np
import pytest
import torch
from helpers import small_vae, weights
from torch import nn

import reparam as rp
from reparam.training.checkpoint import DamagedCheckpoint, read_checkpoint, write_checkpoint
from reparam.training.matching import Mismatch, check_optimizer
from reparam.training.run import checkpoints


def fit(folder, epochs, optimizer=None, **options):
    torch.manual_seed(1)
    model = small_vae(rp.Bernoulli(3))
    x = torch.rand(16, 6, generator=torch.Generator().manual_seed(0))
    if optimizer is not None:
        options["optimizer"] = optimizer(model.parameters())
    estimator = rp.NVIL(rp.mlp(6, [4], 1))
    rp.fit(model, estimator, x, epochs=epochs, batch_size=8, run=rp.Run(folder, resume=True), **options)
    return model


def state(tree, number=0):
    return tree["optimizer"]["state"][number]


def now(tree):
    return tree["ranks"][0]["now"]


CHANGES = {
    "a shorter average": (lambda t: state(t).update(exp_avg=torch.zeros(1)), r"optimizer.state\[0\].exp_avg is a tensor of shape \(1,\), torch.float32; it must be a tensor of shape \(5, 6\), torch.float32"),
    "a longer average": (lambda t: state(t).update(exp_avg_sq=torch.zeros(50, 6)), r"exp_avg_sq is a tensor of shape \(50, 6\)"),
    "an average of another type": (lambda t: state(t).update(exp_avg=state(t)["exp_avg"].double()), "torch.float64; it must be .*torch.float32"),
    "an average that is a number": (lambda t: state(t).update(exp_avg=0.5), "exp_avg is 0.5; it must be a tensor"),
    "no average": (lambda t: state(t).pop("exp_avg"), r"optimizer.state\[0\] lacks 'exp_avg'"),
    "steps of no number": (lambda t: state(t).update(step=torch.zeros(0)), "step is a tensor of shape .0,.*; it must be a tensor of one number"),
    "a parameter too many": (lambda t: t["optimizer"]["state"].update({99: state(t)}), "optimizer.state has a parameter 99, and there are 8"),
    "a parameter before the first": (lambda t: t["optimizer"]["state"].update({-1: state(t)}), "optimizer.state has a parameter -1"),
    "parameters of another number": (lambda t: t["optimizer"]["param_groups"][0].update(params=[0, 1]), r"param_groups\[0\] has the parameters \[0, 1\]; there are 8"),
    "two groups": (lambda t: t["optimizer"]["param_groups"].append({}), "it must be a list of 1"),
    "a rate that is text": (lambda t: t["optimizer"]["param_groups"][0].update(lr="high"), r"param_groups\[0\].lr is 'high'; it must be a number"),
    "no rate": (lambda t: t["optimizer"]["param_groups"][0].pop("lr"), r"param_groups\[0\] lacks 'lr'"),
    "a control's average": (lambda t: t["control"]["state"][0].update(exp_avg=torch.zeros(1)), r"control.state\[0\].exp_avg is a tensor of shape \(1,\)"),
    "weights of another type": (lambda t: t["model"].update({"decoder.0.bias": torch.zeros(5, dtype=torch.int64)}), "model.decoder.0.bias is a tensor of shape .5,., torch.int64"),
    "weights of another precision": (lambda t: t["model"].update({"decoder.0.bias": torch.zeros(5).double()}), "torch.float64; it must be"),
    "weights of another shape": (lambda t: t["model"].update({"decoder.0.bias": torch.zeros(1)}), r"decoder.0.bias is a tensor of shape \(1,\)"),
    "weights that are none": (lambda t: t["model"].update({"decoder.0.bias": 3}), "decoder.0.bias is 3; it must be a tensor"),
    "a weight too many": (lambda t: t["model"].update(more=torch.zeros(1)), "model has an unknown 'more'"),
    "a baseline's weight": (lambda t: t["estimator"].update({"network.0.bias": torch.zeros(9)}), "estimator.network.0.bias is a tensor"),
    "tensors outside of modules": (lambda t: t.update(loose=[torch.zeros(1)]), "loose is .*; it must be a list of 0"),
    "a state of torch": (lambda t: now(t).update(torch=torch.zeros(3, dtype=torch.uint8)), r"ranks\[0\].now.torch is a tensor of shape \(3,\)"),
    "a state of numpy": (lambda t: now(t)["numpy"].__setitem__(1, torch.zeros(3)), r"now.numpy\[1\] is a tensor of shape \(3,\)"),
    "a position beyond the state of numpy": (lambda t: now(t)["numpy"].__setitem__(2, 10**9), "has the position 1000000000; it must lie in 0 to 624"),
    "a state of Python": (lambda t: now(t)["python"].__setitem__(1, torch.zeros(625, dtype=torch.int64) - 1), "now.python is no state"),
    "a state of Python cut short": (lambda t: now(t).update(python=[3]), "now.python is .3.; it must be a list of 3"),
    "generators that are none": (lambda t: now(t).update(generators=[1]), "generators is .1.; it must be a list of tensors"),
    "a state of the epoch's beginning": (lambda t: t["ranks"][0].update(epoch_start={"torch": 3}), "epoch_start lacks 'generators'"),
    "losses of another type": (lambda t: t["ranks"][0].update(losses=torch.zeros(2)), r"ranks\[0\].losses .*it must be a tensor of one axis, torch.float64"),
    "sizes of another number": (lambda t: t["ranks"][0].update(sizes=torch.zeros(7, dtype=torch.int64)), r"ranks\[0\].sizes is a tensor of shape \(7,\)"),
    "no rank": (lambda t: t.update(ranks=[]), "ranks is empty"),
    "a rank that is none": (lambda t: t.update(ranks=[3]), r"ranks\[0\] is 3; it must hold named values"),
    "a step that is text": (lambda t: t["progress"].update(step="x"), "progress.step is 'x'; it must be a whole number"),
    "a step below 0": (lambda t: t["progress"].update(step=-1), "progress.step is -1; it must be at least 0"),
    "a bound that is text": (lambda t: t["progress"].update(best="low"), "progress.best is 'low'; it must be a number or null"),
    "an unknown field": (lambda t: t["progress"].update(more=1), "progress has an unknown 'more'"),
    "a history of something else": (lambda t: t["progress"].update(history=[[1, 2.0]]), r"progress.history\[0\] is .*; it must be a list of 5"),
    "no optimizer": (lambda t: t.pop("optimizer"), "the checkpoint lacks 'optimizer'"),
    "a precision of another kind": (lambda t: t.update(precision={"scale": 1.0}), "precision has an unknown 'scale'"),
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The newest checkpoint of a run of one epoch, and its run."""
    folder = tmp_path_factory.mktemp("run") / "run"
    fit(folder, 1)
    return folder, read_checkpoint(checkpoints(folder)[-1])


@pytest.mark.parametrize("kind", CHANGES)
def test_what_does_not_fit_is_refused_by_its_name_and_nothing_is_loaded(trained, kind):
    """With the average of one number in its place, the fused kernel wrote beyond the end of the tensor."""
    folder, tree = trained
    change, words = CHANGES[kind]
    tree = copy.deepcopy(tree)
    change(tree)
    path, before = checkpoints(folder)[-1], checkpoints(folder)[-1].read_bytes()
    torch.manual_seed(7)
    model = small_vae(rp.Bernoulli(3))
    started = weights(model)
    states = [torch.get_rng_state(), random.getstate(), np.random.get_state()[1]]
    try:
        write_checkpoint(path, tree)
        with pytest.raises(
            ValueError, match=rf"step-000000002.000002.safetensors does not fit this training: .*{words}"
        ) as caught:
            rp.fit(
                *(model, rp.NVIL(rp.mlp(6, [4], 1)), torch.rand(16, 6, generator=torch.Generator().manual_seed(0))),
                **{"epochs": 3, "batch_size": 8, "run": rp.Run(folder, resume=True)},
            )
    finally:
        path.write_bytes(before)
    assert "\n" not in str(caught.value)
    assert torch.equal(weights(model), started)
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])


def test_a_checkpoint_that_fits_is_loaded_in_any_of_the_forms_it_may_have(trained, tmp_path):
    """State of torch's Adam, whose switches may be None; a state of another device; a cached normal of Python."""
    folder, tree = trained
    tree = copy.deepcopy(tree)
    tree["optimizer"]["param_groups"][0].update(fused=None, decoupled_weight_decay=None, initial_lr=0.1)
    now(tree)["cuda"] = torch.zeros(16, dtype=torch.uint8)
    now(tree)["python"][2] = 0.5
    now(tree)["generators"] = [torch.zeros(3)]
    path, before = checkpoints(folder)[-1], checkpoints(folder)[-1].read_bytes()
    write_checkpoint(path, tree)
    fit(folder, 1)
    path.write_bytes(before)


# whatever torch brings: a new class whose state the rule does not know fails here
OPTIMIZERS = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type)
    and issubclass(kind, torch.optim.Optimizer)
    and name not in ("Optimizer", "LBFGS", "SparseAdam", "Muon")
}


def own_optimizer(optimizer, parameters):
    return optimizer(parameters, lr=1e-3, **({"momentum": 0.9} if optimizer is torch.optim.SGD else {}))


@pytest.mark.parametrize("name", [*OPTIMIZERS, "amsgrad"])
def test_the_state_of_every_optimizer_of_torch_fits_itself_and_no_other(name):
    layer = nn.Linear(3, 2)
    if name == "amsgrad":
        optimizer = torch.optim.Adam(layer.parameters(), amsgrad=True)
    else:
        optimizer = own_optimizer(OPTIMIZERS[name], layer.parameters())
    fresh = copy.deepcopy(optimizer)
    layer(torch.rand(4, 3)).sum().backward()
    optimizer.step()
    saved = optimizer.state_dict()
    check_optimizer("optimizer", fresh, saved)
    changed = 0
    for key, value in saved["state"][0].items():
        if isinstance(value, torch.Tensor) and value.shape == (2, 3):
            other = copy.deepcopy(saved)
            other["state"][0][key] = value[:1]
            with pytest.raises(Mismatch, match=rf"optimizer.state\[0\].{key} is a tensor of shape \(1, 3\)"):
                check_optimizer("optimizer", fresh, other)
            changed += 1
    assert changed or name == "Adafactor"


class Own(torch.optim.Optimizer):
    """Keeps one number of each row."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.1})

    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.state[parameter]["rows"] = parameter.grad.flatten(1).sum(1) if parameter.dim() > 1 else None
                    parameter.data.sub_(group["lr"] * parameter.grad)


@pytest.mark.parametrize("kind", [Own, torch.optim.LBFGS, lambda p: torch.optim.SGD(p, lr=0.1)])
def test_an_optimizer_of_the_users_own_keeps_what_it_likes(kind):
    layer = nn.Linear(3, 2)
    optimizer = kind(layer.parameters())
    fresh = copy.deepcopy(optimizer)

    def loss():
        optimizer.zero_grad()
        value = layer(torch.ones(4, 3)).square().sum()
        value.backward()
        return value

    if isinstance(optimizer, torch.optim.LBFGS):
        optimizer.step(loss)
    else:
        loss()
        optimizer.step()
    check_optimizer("optimizer", fresh, optimizer.state_dict())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("[1, 2]", "it holds a list instead of named values"),
        ("not JSON", "its values are no tree .JSONDecodeError"),
        ('{"tensor": "gone"}', "its values are no tree .KeyError: 'gone'"),
        ('{"pears": []}', "its values are no tree .KeyError: 'pairs'"),
        ('{"pairs": [[[], 1]]}', "its values are no tree .TypeError"),
        ("[" * 100_000, "its values are no tree .RecursionError"),
    ],
)
def test_a_right_digest_of_values_that_are_no_tree_is_a_damaged_checkpoint(tmp_path, monkeypatch, values, words):
    monkeypatch.setattr("reparam.training.checkpoint.json.dumps", lambda tree: values)
    path = write_checkpoint(tmp_path / "a.safetensors", {})
    with pytest.raises(DamagedCheckpoint, match=rf"a\.safetensors is no reparam checkpoint 1: {words}"):
        read_checkpoint(path)


@pytest.mark.filterwarnings("default:.*is used:UserWarning")
def test_a_checkpoint_without_a_model_or_the_length_of_the_metrics_is_passed_over(tmp_path):
    validation = torch.rand(8, 6)
    fit(tmp_path / "run", 2, validation=validation)
    write_checkpoint(tmp_path / "run" / "checkpoints" / "best.safetensors", {"model": 3})
    with pytest.warns(UserWarning, match=r"best.safetensors holds no model; step-.* is used"):
        rp.load(tmp_path / "run")
    path = checkpoints(tmp_path / "run")[-1]
    write_checkpoint(path, {**read_checkpoint(path), "metrics_bytes": "x"})
    with pytest.warns(UserWarning, match="does not say how long the metrics were, but 'x'"):
        fit(tmp_path / "run", 2, validation=validation)


def test_weights_go_into_another_precision_and_into_no_other_kind_of_number(tmp_path):
    model = fit(tmp_path / "run", 1)
    double = rp.load(tmp_path / "run", model=small_vae(rp.Bernoulli(3)).double())
    assert torch.equal(weights(double), weights(model).double())
    path = checkpoints(tmp_path / "run")[-1]
    tree = read_checkpoint(path)
    tree["model"] = {name: value.to(torch.int64) for name, value in tree["model"].items()}
    write_checkpoint(path, tree)
    started = weights(double)
    with pytest.raises(ValueError, match=r"weights are not those of this VAE: .* is torch.int64, and torch.float64"):
        rp.load(tmp_path / "run", model=double)
    assert torch.equal(weights(double), started)
