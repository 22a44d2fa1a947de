"""Flows on top of another family."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Transform, constraints

from reparam import distributions
from reparam._checks import choice, whole
from reparam._tensors import HALF, unwrap, widened_module
from reparam.families.family import Family


class Flow(Family, nn.Module):
    """The members of another family under one learned invertible map: `z = T(u)`, u from the base family.

    A network gives the parameters of the base, for each x its own; those of T are shared by all x and learned with the
    model, of which this module becomes a part. Drawing z with its log q(z|x) is one pass through T; scoring any other z
    inverts T, one pass for each variable and layer (`rp.distributions.Flow`). So `Pathwise` and `evaluate` are fast,
    `Pathwise(gradient="stl")`, RLOO and wake updates are slow. The default prior is the base's standard member.

    Args:
        base: a family of real vectors, `Gaussian(20)`.
        transform: "maf", layers that shift and scale each variable given those before it, or "nsf", layers that map it
            by a rational-quadratic spline on [-5, 5], both from zuko and the identity at the start; or a module whose
            `forward()` without arguments makes T, such as `zuko.flows.NSF(20).transform`.
        num_transforms: layers of "maf" or "nsf", in alternating order of the variables; 2 if not given.
        hidden: widths of the hidden layers of each one's network; (64, 64) if not given.

    Raises:
        TypeError: a base that is no family, or whose draws are not real and reparameterised; another transform.
        ValueError: a transform that cannot take a draw of the base, or changes its shape.
        ImportError: "maf" or "nsf" without zuko.

    Reference:
        Kingma et al., Improving Variational Inference with Inverse Autoregressive Flow, 2016, arXiv 1606.04934 ("maf");
        Durkan, Bekasov, Murray, Papamakarios, Neural Spline Flows, 2019, arXiv 1906.04032 ("nsf").

    Example:
        >>> from reparam.families import Gaussian
        >>> latent = Flow(Gaussian(3), "maf", num_transforms=2, hidden=[16])
        >>> latent(torch.zeros(8, latent.num_params)).rsample((5,)).shape
        torch.Size([5, 8, 3])
    """

    def __init__(
        self,
        base: Family,
        transform: str | nn.Module = "nsf",
        *,
        num_transforms: int | None = None,
        hidden: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        _check_base(base)
        self.base = base
        self.num_transforms = num_transforms
        self.hidden = hidden
        self._named = None if isinstance(transform, nn.Module) else transform
        if isinstance(transform, nn.Module):
            if not (num_transforms is None and hidden is None):
                raise TypeError(
                    'num_transforms and hidden are for "maf" and "nsf"; a module has its own. Leave them out.'
                )
            layers = [transform]
        else:
            num_layers = 2 if num_transforms is None else whole("num_transforms", num_transforms)
            widths = [whole("a hidden width", width) for width in ((64, 64) if hidden is None else hidden)]
            layers = _autoregressive(base, transform, num_layers, widths)
        self.transforms = nn.ModuleList(layers)
        self._fix(base.event_shape, base.num_params)
        for layer in layers:
            _check_transform(layer, base)

    @property
    def transform(self) -> str | nn.Module:
        """What T was asked for as: "maf", "nsf", or a module."""
        return self.transforms[0] if self._named is None else self._named

    def standard(self, zeros: Tensor) -> Distribution:
        """The default prior: the standard member of the base, which T does not touch."""
        return self.base.standard(zeros)

    def features(self, z: Tensor) -> Tensor:
        """A draw as flat numbers, as the base has it."""
        return self.base.features(z)

    def _distribution(self, params: Tensor) -> Distribution:
        transforms = [transform() for transform in self._layers()]
        return distributions.Flow(self.base(params), *transforms, validate_args=False)

    def _layers(self) -> list[nn.Module]:
        """The modules that make T. 16-bit weights are used as float32: a spline in 16 bits is off by nats."""
        in_half = any(parameter.dtype in HALF for parameter in self.transforms.parameters())
        return [widened_module(layer) if in_half else layer for layer in self.transforms]

    def __str__(self) -> str:
        return f"Flow({self.base})"

    def extra_repr(self) -> str:
        return f"base={self.base}"


def _autoregressive(base: Family, name: str, num_transforms: int, hidden: Sequence[int]) -> list[nn.Module]:
    """zuko's layers of this name, which begin as the identity.

    One by one, as zuko's composition of them cannot be traced by `torch.compile(fullgraph=True)`.
    """
    kind = choice("transform", name, ("maf", "nsf"))
    if len(base.event_shape) != 1:
        raise ValueError(
            f'{base} has draws of shape {tuple(base.event_shape)}; "{kind}" takes one axis. Give the family the shape '
            f"{base.event_shape.numel()}."
        )
    flows = import_zuko().flows
    make = {"maf": flows.MAF, "nsf": flows.NSF}[kind]
    flow = make(base.event_shape[0], transforms=num_transforms, hidden_features=hidden)
    layers: list[Any] = list(flow.transform.transforms)
    with torch.no_grad():  # as the identity: the posterior begins as a member of its base, from which it can only gain
        for layer in layers:
            last = layer.hyper[-1] if hasattr(layer, "hyper") else layer.phi  # of one variable zuko has numbers
            for parameter in last.parameters():
                parameter.zero_()
    return layers


def import_zuko() -> Any:
    """zuko, without the switch that its import throws: it turns off torch's validation of all distributions."""
    validated = Distribution._validate_args
    try:
        zuko = import_module("zuko")
    except ModuleNotFoundError as error:
        raise ImportError("the flows are those of zuko, which is not installed: pip install reparam[flows]") from error
    finally:
        Distribution.set_default_validate_args(validated)
    return zuko


def _check_base(base: object) -> None:
    if not isinstance(base, Family):
        raise TypeError(f"base is {base!r}; it must be a family such as rp.Gaussian(20).")
    standard = base.standard(torch.zeros(base.num_params))
    support: Any = unwrap(standard)[0].support
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    if not standard.has_rsample or support is not constraints.real:
        raise TypeError(
            f"base is {base}, whose draws are not real numbers with an rsample; a flow maps those. Use rp.Gaussian; a "
            "discrete latent can have a richer prior instead: rp.AutoregressivePrior."
        )


def _check_transform(module: nn.Module, base: Family) -> None:
    try:
        transform = module()
    except TypeError as error:
        raise TypeError(
            f"transform is {module}, whose forward() cannot be called without arguments: {error}"
        ) from error
    if not isinstance(transform, Transform):
        raise TypeError(
            f"transform is a module that makes a {type(transform).__name__}; it must make a torch Transform, which "
            "takes draws of the base to draws of z. Of a flow of zuko pass that part: zuko.flows.MAF(20).transform."
        )
    like = next(module.parameters(), torch.zeros(()))
    try:
        with torch.no_grad():
            made = tuple(transform(torch.zeros(base.event_shape, dtype=like.dtype, device=like.device)).shape)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"the transform cannot take a draw of {base}, of shape {tuple(base.event_shape)}: {reason}"
        ) from error
    if made != base.event_shape or transform.domain.event_dim > len(base.event_shape):
        raise ValueError(
            f"the transform makes {made} of a draw of {base}, of shape {tuple(base.event_shape)}, and has "
            f"{transform.domain.event_dim} event axes; it must keep the shape, and have no more axes than that."
        )
