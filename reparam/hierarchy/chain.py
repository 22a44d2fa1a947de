"""A chain of stochastic layers as one torch distribution over the joint latent."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

from reparam._tensors import unwrap
from reparam.distributions import closed_kl, joint_support
from reparam.distributions.enumeration import MAX_STATES
from reparam.families import Family
from reparam.hierarchy.composite import Composite

Part = Distribution | Callable[[dict[str, Tensor]], Distribution]


class _Parts(constraints.Constraint):
    """Values whose parts lie each in its own support."""

    event_dim = 1

    def __init__(self, chain: Chain) -> None:
        self.chain = chain

    def __repr__(self) -> str:
        return "each part in its own support"

    def check(self, value: Tensor) -> Tensor:
        inside = torch.ones(value.shape[:-1], dtype=torch.bool, device=value.device)
        for name, part in self.chain.split(value).items():
            support: Any = self.chain.member(name).support
            inside = inside & support.check(part)
        return inside


class Chain(Composite):
    """`p(z_1, ..., z_L)` as the product of each part's probability given those drawn before it.

    A value holds the flat values of all parts side by side, in the order of `families`, whatever the order of drawing:
    so a posterior that goes bottom-up and a prior that goes top-down score the same z.

    Args:
        families: what each part is, by name, in the order in which a value holds them.
        parts: by name, in the order of drawing: a distribution, or a function that makes one of the features of the
            parts drawn before, `{name: [..., num_features]}`. The first is a distribution; its batch shape is the
            chain's.

    Raises:
        ValueError: families and parts of different names; a function for the first part; a distribution of another
            event shape than its family's, or of another batch shape than the first part's.

    Example:
        >>> from reparam import Gaussian
        >>> z = Gaussian(2)
        >>> top_down = {"z2": z(torch.zeros(4)), "z1": lambda f: z(torch.cat([f["z2"], f["z2"]], -1))}
        >>> Chain({"z1": z, "z2": z}, top_down).sample((5,)).shape
        torch.Size([5, 4])
    """

    def __init__(self, families: Mapping[str, Family], parts: Mapping[str, Part]) -> None:
        if set(families) != set(parts):
            raise ValueError(f"families are of {sorted(families)} and parts of {sorted(parts)}; the names must agree.")
        first = next(iter(parts.values()))
        if not isinstance(first, Distribution):
            raise ValueError("the first part drawn depends on nothing; give it as a distribution, not as a function.")
        for name, part in parts.items():
            if isinstance(part, Distribution):
                _check_part(name, part, families[name], first.batch_shape)
        self._parts = parts
        self.first = first
        super().__init__(families, first.batch_shape)
        members = [self.member(name) for name in families]
        self.has_rsample = all(member.has_rsample for member in members)
        self.has_enumerate_support = all(unwrap(member)[0].has_enumerate_support for member in members)

    def member(self, name: str) -> Distribution:
        """A part's own distribution where it depends on no other; elsewhere the standard member of its family."""
        part = self._parts[name]
        return part if isinstance(part, Distribution) else self.families[name].member

    @property
    def is_product(self) -> bool:
        """Whether no part depends on another."""
        return all(isinstance(part, Distribution) for part in self._parts.values())

    def parts(self, values: Mapping[str, Tensor]) -> Iterator[tuple[str, Distribution]]:
        features: dict[str, Tensor] = {}
        for name, part in self._parts.items():
            yield name, part if isinstance(part, Distribution) else part(features)
            features[name] = self.families[name].features(values[name])

    @property
    def support(self) -> constraints.Constraint:
        return _Parts(self)

    @property
    def mean(self) -> Tensor:
        if not self.is_product:
            raise NotImplementedError("the mean of a chain has no closed form; average its draws.")
        return self.join({name: self.member(name).mean for name in self.families})

    def expand(self, batch_shape: Any, _instance: Any = None) -> Chain:
        expanded = {
            name: part.expand(batch_shape) if isinstance(part, Distribution) else part
            for name, part in self._parts.items()
        }
        return Chain(self.families, expanded)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Every joint state, `[S, *batch, event]`.

        Raises:
            TypeError: a part whose states cannot be listed.
            ValueError: more than 2**16 states.
        """
        tables = [joint_support(self.member(name)).flatten(1) for name in self.families]
        sizes = [len(table) for table in tables]
        num_states = math.prod(sizes)
        if num_states > MAX_STATES:
            counts = " x ".join([f"{size} of {name}" for size, name in zip(sizes, self.families, strict=True)])
            raise ValueError(
                f"{counts} are {num_states} joint states; enumeration takes at most {MAX_STATES}. "
                "Use a smaller latent, or an estimator that samples, such as RLOO."
            )
        where = joint_support(self.first)  # a part that depends on others is known on the CPU only
        rows = torch.cartesian_prod(*[torch.arange(size) for size in sizes]).reshape(num_states, -1)
        states = torch.cat([table.to(where)[rows[:, part]] for part, table in enumerate(tables)], -1)
        states = states.reshape(num_states, *(1,) * len(self.batch_shape), *self.event_shape)
        return states.expand(-1, *self.batch_shape, -1) if expand else states


def pairs_of_parts(q: Chain, p: Chain) -> dict[str, tuple[Distribution, Distribution]]:
    """Each part under both, where no part depends on another.

    Raises:
        NotImplementedError: elsewhere.
    """
    if not (q.is_product and p.is_product and same_layout(q, p)):
        raise NotImplementedError("the KL between chains whose parts depend on one another has no closed form.")
    return {name: (q.member(name), p.member(name)) for name in q.families}


def same_layout(q: Chain, p: Chain) -> bool:
    """Whether both hold the same parts in the same places."""
    shapes = [[(name, family.event_shape) for name, family in chain.families.items()] for chain in (q, p)]
    return shapes[0] == shapes[1]


def _check_part(name: str, part: Distribution, family: Family, batch_shape: torch.Size) -> None:
    if part.event_shape != family.event_shape or part.batch_shape not in (torch.Size(), batch_shape):
        raise ValueError(
            f"part {name} has event shape {tuple(part.event_shape)} and batch shape {tuple(part.batch_shape)}; its "
            f"family's is {tuple(family.event_shape)}, and the first part's batch shape {tuple(batch_shape)}. Wrap a "
            "per-element distribution in torch.distributions.Independent."
        )


@register_kl(Chain, Chain)
def _kl_chain_chain(q: Chain, p: Chain) -> Tensor:
    return torch.stack([closed_kl(*pair) for pair in pairs_of_parts(q, p).values()]).sum(0)
