"""A small training with everything that has a state, for the tests of resuming; run in processes that are killed."""

import random

import numpy as np
import torch
import torch._dynamo  # imported by the first optimiser; here once, for all processes that are forked from this one

import reparam as rp
import reparam.training
from reparam.training.session import state_of


def train(folder, *, epochs=6, seed=1, resume=True, also=None, **options):
    """Bits drawn afresh, two stages, a baseline that learns, a scheduled rate, validation: 24 steps an epoch."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    images = torch.rand(832, 64, generator=torch.Generator().manual_seed(0)) ** 3
    data, apart = rp.Data(images[:768], "dynamic"), rp.Data(images[768:]).binarized(seed=0)
    latent = rp.Bernoulli(8)
    model = rp.VAE(latent, rp.Bernoulli(64), rp.mlp(64, [16], latent.num_params), rp.mlp(8, [16], 64))
    estimator = rp.Stages((0, rp.Relaxed(rp.geometric(1.0, 0.5, 60))), (50, rp.NVIL(rp.mlp(64, [4], 1))))
    run = rp.Run(folder, resume=resume, log_every=5, **{"checkpoint_seconds": 0, **options})
    validation = rp.Validation(apart, num_samples=2)

    def at_the_end_of_an_epoch(epoch):
        with torch.no_grad():  # a user's own use of random numbers
            model.decoder[0].bias.add_(1e-3 * (torch.rand(1) + random.random() + np.random.rand()))
        if also is not None:
            also(epoch)

    history = rp.fit(
        model,
        estimator,
        data,
        epochs=epochs,
        batch_size=32,
        lr=rp.cosine(3e-3, 2000, warmup=20),
        clip=100.0,
        run=run,
        validation=validation,
        on_epoch=at_the_end_of_an_epoch,
    )
    return history, {**state_of(model), **state_of(estimator)}
