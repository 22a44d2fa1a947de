"""NumPyro: SVI with a whole epoch in one compiled loop, as in its own VAE example.

The bf16 variant multiplies matrices in bfloat16 and keeps weights, losses and optimiser in float32.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.example_libraries import stax
from numpyro.infer import SVI, TraceMeanField_ELBO

from sides import Case, Images, Report

LATENTS = 20  # of the case "gaussian", the only one that this side does


def mlp(widths: Sequence[int], dtype: Any) -> tuple[Any, Any]:
    layers = [layer for width in widths[1:] for layer in (dense(width, dtype), stax.Relu)]
    network: tuple[Any, Any] = stax.serial(*layers[:-1])
    return network


def dense(width: int, dtype: Any) -> tuple[Any, Any]:
    """A linear layer of stax that multiplies in `dtype`."""
    init, _ = stax.Dense(width)

    def apply(parameters: Any, x: jax.Array, **_: Any) -> jax.Array:
        weight, bias = parameters
        return jnp.dot(x.astype(dtype), weight.astype(dtype), preferred_element_type=jnp.float32) + bias

    return init, apply


def model(x: jax.Array, *, decoder: Any, **_: Any) -> None:
    decode = numpyro.module("decoder", decoder, (x.shape[0], LATENTS))
    with numpyro.plate("images", x.shape[0]):
        z = numpyro.sample("z", dist.Normal(jnp.zeros((x.shape[0], LATENTS)), 1.0).to_event(1))
        numpyro.sample("x", dist.Bernoulli(logits=decode(z)).to_event(1), obs=x)


def guide(x: jax.Array, *, encoder: Any, **_: Any) -> None:
    encode = numpyro.module("encoder", encoder, x.shape)
    loc, log_variance = jnp.split(encode(x), 2, -1)
    with numpyro.plate("images", x.shape[0]):
        numpyro.sample("z", dist.Normal(loc, jnp.exp(log_variance / 2)).to_event(1))


def train(case: Case, variant: str, images: Images, epochs: int, report: Report) -> None:
    numpyro.enable_validation(False)  # else grey pixels are outside of the support
    dtype = jnp.bfloat16 if variant == "bf16" else jnp.float32
    encoder, decoder = mlp(case.encoder_widths, dtype), mlp(case.decoder_widths, dtype)
    svi = SVI(model, guide, numpyro.optim.Adam(1e-3), TraceMeanField_ELBO(), encoder=encoder, decoder=decoder)
    data = jnp.asarray(images, jnp.float32) / 255
    batches = len(data) // case.batch_size  # as in its example, what is left over waits for another epoch

    @jax.jit
    def epoch(state: Any, data: jax.Array, order: jax.Array) -> tuple[Any, jax.Array]:
        def step(i: jax.Array, carry: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
            state, total = carry
            index = jax.lax.dynamic_slice_in_dim(order, i * case.batch_size, case.batch_size)
            state, loss = svi.update(state, data[index])
            return state, total + loss

        last: tuple[Any, jax.Array] = jax.lax.fori_loop(0, batches, step, (state, 0.0))
        return last

    state = svi.init(jax.random.PRNGKey(0), data[: case.batch_size])
    random = np.random.default_rng(0)
    for _ in range(epochs):
        state, total = epoch(state, data, random.permutation(len(data)))
        report(float(total) / (batches * case.batch_size))
