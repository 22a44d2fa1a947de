"""Who is compared, and on what work; importing this costs nothing, so that a fresh process pays for its own side alone.

A side is a module with one function, `train(case, variant, images, epochs, report)`: train the network of the case on
`images`, bytes `[N, 784]` in memory that stand for 0 to 1, for so many epochs, and after each call `report` with the
mean loss of that epoch in nats an image. How it keeps the images, and in which numbers, is up to it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Report = Callable[[float], None]
Train = Callable[["Case", str, Images, int, Report], None]


class Absent(Exception):
    """What a side lacks here, and how to get it."""


@dataclass(frozen=True)
class Product:
    """One matrix product, `[rows, inner] @ [inner, columns]`, and which of its factors lie transposed in memory."""

    rows: int
    inner: int
    columns: int
    left_transposed: bool = False
    right_transposed: bool = False

    @property
    def operations(self) -> int:
        return 2 * self.rows * self.inner * self.columns

    @property
    def values(self) -> int:
        """Numbers read and written, each once."""
        return self.rows * self.inner + self.inner * self.columns + self.rows * self.columns


@dataclass(frozen=True)
class Case:
    """A piece of work that every side does alike, with Adam at 1e-3.

    Attributes:
        title: what is trained, in a few words.
        hidden: widths of the encoder's hidden layers; the decoder has them in reverse.
        activation: between them, "relu" or "tanh".
        num_params: outputs of the encoder.
        num_features: inputs of the decoder.
        num_samples: K, draws of the latent an image.
        batch_size: images a step.
        num_images: an epoch is a pass over the first so many of MNIST's training images.
        tolerance: nats between the losses after two epochs of sides that do the same.
    """

    name: str
    title: str
    hidden: tuple[int, ...] = (400,)
    activation: str = "relu"
    num_params: int = 40
    num_features: int = 20
    num_samples: int = 1
    batch_size: int = 128
    num_images: int = 60_000
    tolerance: float = 2.0

    @property
    def encoder_widths(self) -> tuple[int, ...]:
        return (784, *self.hidden, self.num_params)

    @property
    def decoder_widths(self) -> tuple[int, ...]:
        return (self.num_features, *reversed(self.hidden), 784)

    def layers(self) -> list[tuple[int, int, int]]:
        """Rows, inputs and outputs of each linear layer, the encoder's first."""
        encoder = [(self.batch_size, a, b) for a, b in pairwise(self.encoder_widths)]
        return encoder + [(self.num_samples * self.batch_size, a, b) for a, b in pairwise(self.decoder_widths)]

    def products(self) -> list[Product]:
        """Those of a step: forward, the gradients of the weights, and of the inputs but for the images themselves."""
        layers = self.layers()
        forward = [Product(rows, a, b, right_transposed=True) for rows, a, b in layers]
        weights = [Product(b, rows, a, left_transposed=True) for rows, a, b in layers]
        inputs = [Product(rows, b, a) for rows, a, b in layers[1:]]
        return forward + weights + inputs

    @property
    def num_weights(self) -> int:
        return sum((a + 1) * b for _, a, b in self.layers())


_IWAE: dict[str, Any] = {
    "hidden": (200, 200),
    "activation": "tanh",
    "num_params": 100,
    "num_features": 50,
    "num_samples": 50,
    "num_images": 3_000,  # fifty draws of each: a whole pass would take minutes
    "tolerance": 5.0,  # so early the loss falls steeply
}
_CODES: dict[str, Any] = {"num_params": 200, "num_features": 200}
CASES = {
    case.name: case
    for case in (
        Case("gaussian", "20 Gaussian latents, KL in closed form"),
        Case("iwae-20", "50 Gaussian latents, IWAE with K = 50, batches of 20", batch_size=20, **_IWAE),
        Case("iwae-128", "50 Gaussian latents, IWAE with K = 50, batches of 128", **_IWAE),
        Case("rloo", "20 x 10 Categorical latents, RLOO with K = 4", num_samples=4, **_CODES),
        Case("binconcrete", "20 bits, relaxed at an annealed temperature", num_params=20),
        Case("concrete", "20 x 10 Categorical latents, relaxed at an annealed temperature", **_CODES),
    )
}


@dataclass(frozen=True)
class Side:
    """One of those compared.

    Attributes:
        name: after `--only`, and in the tables.
        module: below `sides`.
        variant: what the module is to do differently.
        package: the distribution whose version counts, and without which there is no such side.
        only_gaussian: whether it does the case "gaussian" alone.
    """

    name: str
    module: str
    variant: str = ""
    package: str = "torch"
    only_gaussian: bool = True


OURS = "reparam"
PRODUCTS = "products"
SIDES = (
    Side(OURS, "ours", package="reparam", only_gaussian=False),
    Side("reparam-bf16", "ours", "bf16-mixed", package="reparam"),
    Side("pytorch", "by_hand", only_gaussian=False),
    Side("pytorch-tuned", "by_hand", "tuned", only_gaussian=False),
    Side("numpyro", "numpyro_svi", package="numpyro"),
    Side("numpyro-bf16", "numpyro_svi", "bf16", package="numpyro"),
    Side("pyro", "pyro_svi", package="pyro-ppl"),
    Side("pyro-jit", "pyro_svi", "jit", package="pyro-ppl"),
    Side("pythae", "pythae_trainer", package="pythae"),
    Side("dataloader", "dataloader_script"),
    Side(PRODUCTS, "products", only_gaussian=False),
    Side("products-bf16", "products", "bf16"),
)
