"""Pyro: SVI with its checks off, run as it is with the KL in closed form, or traced by its JIT.

The JIT takes the KL at the sample: that of the closed form traces anew at every step (Pyro 1.9.2 looks for what it made
under another name). A trace holds for one size of batch, so the few images that are left over wait for another epoch.
"""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, JitTrace_ELBO, TraceMeanField_ELBO
from torch import Tensor

from sides import Case, Images, Report
from sides.by_hand import mlp


def train(case: Case, variant: str, images: Images, epochs: int, report: Report) -> None:
    pyro.enable_validation(False)
    pyro.set_rng_seed(0)
    encoder, decoder = mlp(case.encoder_widths, "relu"), mlp(case.decoder_widths, "relu")

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        shape = (len(x), case.num_features)
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(shape), x.new_ones(shape)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("images", len(x)):
            loc, log_variance = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, (log_variance / 2).exp()).to_event(1))

    elbo = JitTrace_ELBO(ignore_jit_warnings=True) if variant == "jit" else TraceMeanField_ELBO()
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), loss=elbo)
    data = torch.from_numpy(images).float() / 255
    seen = len(data) - len(data) % case.batch_size if variant == "jit" else len(data)
    for _ in range(epochs):
        batches = torch.randperm(len(data))[:seen].split(case.batch_size)
        report(sum(svi.step(data[index]) for index in batches) / seen)
