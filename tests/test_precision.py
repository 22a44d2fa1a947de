"""Mixed precision, double precision, and a compiled step."""

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision.amp import MixedPrecision
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from torch import nn
from torch._inductor import cpp_builder

import reparam as rp
from reparam import runs
from reparam.training import Interrupted
from reparam.training.checkpoint import read_checkpoint
from reparam.training.run import checkpoints

ROOT = Path(__file__).resolve().parent.parent


def fabric(precision):
    found = Fabric(accelerator="cpu", devices=1, precision=precision)
    found.launch()
    return found


def images(number, seed=0):
    return torch.rand(number, 36, generator=torch.Generator().manual_seed(seed)) ** 3


def vae(latent, encoder=None, prior=None):
    encoder = encoder or rp.mlp(36, [16], latent.num_params)
    return rp.VAE(latent, rp.Bernoulli(36), encoder, rp.mlp(latent.num_features, [16], 36), prior=prior)


def trained(precision, seed=0, estimator=None, **options):
    torch.manual_seed(seed)
    model = vae(rp.Gaussian(5))
    place = fabric(precision) if precision else None
    epochs = rp.fit(model, estimator or rp.Pathwise(), images(512), batch_size=32, lr=1e-2, fabric=place, **options)
    return model, [each.loss for each in epochs]


def test_bf16_mixed_ends_where_float32_does():
    """The exact ELBO of the weights, in float32, after 160 steps: the difference of a pair is that of other noise."""
    found = {}
    for precision in (None, "bf16-mixed"):
        models = [trained(precision, seed, epochs=10)[0] for seed in range(4)]
        found[precision] = torch.tensor([rp.evaluate(model, images(512), num_samples=8).elbo.value for model in models])
        assert all(p.dtype == torch.float32 for model in models for p in model.parameters())
    begin = rp.evaluate(vae(rp.Gaussian(5)), images(512), num_samples=8).elbo.value
    assert found[None].mean() - begin > 2
    difference = found["bf16-mixed"] - found[None]
    assert difference.abs().max() < 0.1
    assert difference.abs().max() > 0  # it was another arithmetic


@dataclass(frozen=True)
class Noting:
    """An estimator that notes the precisions, and stops the training at a step."""

    dtypes: set
    at_step: int = -1
    step: int = 0

    def at(self, step):
        return Noting(self.dtypes, self.at_step, step)

    def __call__(self, model, x):
        if self.step == self.at_step:
            os.kill(os.getpid(), signal.SIGTERM)
        assert not torch.equal(x, x.bfloat16().to(x.dtype))  # the data are not rounded
        estimate = rp.Pathwise()(model, x)
        drawn = rp.draw(model, x)
        products = model.encoder(x)
        noted = {"x": x, "products": products, "z": drawn.z, "loss": estimate.loss, "score": drawn.log_posterior}
        self.dtypes.update((name, tensor.dtype) for name, tensor in noted.items())
        return estimate


@pytest.mark.parametrize(
    ("precision", "products", "rest"),
    [("bf16-mixed", torch.bfloat16, torch.float32), ("64-true", torch.float64, torch.float64)],
)
def test_only_the_products_are_in_half_precision(precision, products, rest):
    dtypes = set()
    trained(precision, estimator=Noting(dtypes), epochs=1)
    assert dtypes == {(name, rest) for name in ("x", "z", "loss", "score")} | {("products", products)}


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_a_resumed_training_in_another_precision_ends_in_the_same_bits(tmp_path, precision):
    straight, losses = trained(precision, estimator=Noting(set()), epochs=3)
    run = rp.Run(tmp_path / "run", resume=True, checkpoint_seconds=1e9)
    with pytest.raises(Interrupted):
        trained(precision, estimator=Noting(set(), 21), epochs=3, run=run)
    resumed, losses_too = trained(precision, estimator=Noting(set()), epochs=3, run=run)
    assert losses == losses_too
    assert all(torch.equal(one, other) for one, other in zip(straight.parameters(), resumed.parameters(), strict=True))


def test_float16_goes_on_with_the_factor_of_its_loss(tmp_path):
    """Its place is a GPU; what scales the loss against underflow can be had on a CPU."""

    def place():
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=7)
        found = Fabric(accelerator="cpu", devices=1, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
        found.launch()
        return found

    def training(epochs, run=None, **options):
        torch.manual_seed(0)
        model = vae(rp.Bernoulli(5))
        estimator = rp.NVIL(rp.mlp(36, [4], 1))
        rp.fit(model, estimator, images(160), epochs=epochs, batch_size=32, run=run, fabric=place(), **options)
        return list(model.parameters())

    straight = training(4, rp.Run(tmp_path / "straight"))
    training(2, rp.Run(tmp_path / "run"))
    resumed = training(4, rp.Run(tmp_path / "run", resume=True))
    assert all(torch.equal(one, other) for one, other in zip(straight, resumed, strict=True))
    runs_saved = [read_checkpoint(checkpoints(tmp_path / name)[-1])["precision"] for name in ("straight", "run")]
    assert runs_saved[0] == runs_saved[1]
    assert runs_saved[0]["scale"] > 1024
    with pytest.raises(ValueError, match="the precision 16-mixed"):
        training(1, clip=1.0)


def models():
    gaussian, bits = rp.Gaussian(4), rp.Bernoulli(4)
    encoder = rp.mlp(36, [8], 8)
    yield vae(gaussian, encoder, rp.VampPrior(gaussian, encoder, images(5))), rp.Pathwise()
    yield vae(bits, prior=rp.AutoregressivePrior(bits, [8])), rp.RLOO(2)
    yield vae(rp.Categorical(2, 3)), rp.Relaxed(0.5, kl="relaxed")
    decoders = [rp.mlp(4, [8], 36), rp.mlp(4, [8], 4)]
    yield rp.Hierarchy([bits, bits], rp.Bernoulli(36), [rp.mlp(36, [8], 4), rp.mlp(4, [8], 4)], decoders), rp.RLOO(2)
    encoders, corrections = [rp.mlp(36, [8], 8), rp.mlp(8, [8], 8)], [nn.Linear(8, 8), nn.Linear(8, 8)]
    decoders = [rp.mlp(4, [8], 36), rp.mlp(4, [8], 8)]
    yield rp.Ladder([gaussian, gaussian], rp.Bernoulli(36), encoders, corrections, decoders), rp.Pathwise()


@pytest.mark.parametrize("number", range(5))
def test_no_distribution_has_parameters_in_half_precision(number):
    model, estimator = list(models())[number]
    x = images(16)
    with torch.autocast("cpu", torch.bfloat16):
        drawn = rp.draw(model, x, 2)
        found = [drawn.z, drawn.log_prior, drawn.log_posterior, drawn.log_likelihood, model.prior().sample()]
        loss = estimator(model, x).loss
        assert not drawn.likelihood.base_dist.logits.dtype.itemsize < 4
        if not hasattr(drawn.posterior, "member"):
            base = drawn.posterior.base_dist
            assert (base.loc if hasattr(base, "loc") else base.logits).dtype == torch.float32
        if isinstance(prior := getattr(model, "prior_module", None), rp.AutoregressivePrior):
            found.append(prior._conditionals(drawn.z).base_dist.logits)
    assert {tensor.dtype for tensor in (*found, loss)} == {torch.float32}


def test_float16_on_a_cpu_is_refused():
    chosen = rp.Experiment().replace(accelerator="cpu", precision="16-mixed")
    with pytest.raises(ValueError, match="Take bf16-mixed"):
        runs.launch_of(chosen)


def test_one_device_in_float32_needs_no_fabric():
    assert runs.launch_of(rp.Experiment().replace(accelerator="cpu")) is None


def test_devices_that_are_not_there_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="this machine has cpu"):
        runs.launch_of(rp.Experiment().replace(accelerator="mps", devices=2))
    with pytest.raises(ValueError, match="strategy"):
        runs.launch_of(rp.Experiment().replace(accelerator="cpu", devices=2, strategy="dpp"))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ValueError, match="torchrun started 4 processes, and devices is 2"):
        runs.launch_of(rp.Experiment().replace(accelerator="cpu", devices=2))


def test_a_strategy_that_cuts_the_model_is_refused():
    cut = SimpleNamespace(
        strategy=ModelParallelStrategy(lambda model, mesh: model), global_rank=0, world_size=2
    )  # a real one needs GPUs
    with pytest.raises(ValueError, match="each device must hold the whole model"):
        rp.fit(vae(rp.Gaussian(5)), rp.Pathwise(), images(8), epochs=1, fabric=cut)


def test_compiling_an_estimator_that_learns_is_refused():
    with pytest.raises(ValueError, match="NVIL learns parameters of its own"):
        rp.fit(vae(rp.Bernoulli(5)), rp.NVIL(rp.mlp(36, [4], 1)), images(8), epochs=1, compile=True)


def test_compiling_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "no-such-compiler"))
    cpp_builder.cpp_compiler_search.cache_clear()
    with pytest.raises(ValueError, match="there is no C"):
        rp.fit(vae(rp.Gaussian(5)), rp.Pathwise(), images(8), epochs=1, compile=True)
    cpp_builder.cpp_compiler_search.cache_clear()


def test_a_compiled_step_trains_as_the_other_and_no_temperature_compiles_it_anew():
    """In a process of its own, since the run-time check of shapes cannot be traced."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests" / "compiled_steps.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["graphs"] == {"Pathwise": 1, "Relaxed": 3, "RLOO": 2}
    assert found["breaks"] == 0
    assert found["diverged"]
    for eager, compiled in found["losses"].values():
        assert math.isclose(eager, compiled, rel_tol=1e-5)
