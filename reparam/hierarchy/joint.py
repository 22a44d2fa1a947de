"""Families side by side: a latent of several kinds."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from reparam.families import Family
from reparam.hierarchy.chain import Chain
from reparam.hierarchy.composite import modules_among, split


class Joint(Family, nn.Module):
    """Independent parts of different families as one: `Joint(style=Gaussian(10), kind=Categorical(1, 10))`.

    A draw holds the parts' flat values side by side, and `split` takes it apart; the network gives the parameters of
    the first part, then of the second, and so on. Zero parameters give each part's standard member.

    `Pathwise` trains it where every part has `rsample`, `Relaxed` where the others are bits or symbols, `RLOO` always.

    As an observation it takes data whose flat parts stand side by side. It is a module, too, so that what its parts
    learn (a `Flow`, a shared scale) belongs to the model.

    Args:
        families: at least one, by name.

    Raises:
        TypeError: no part, one without a name, or one that is no family.

    Example:
        >>> from reparam import Categorical, Gaussian
        >>> latent = Joint(style=Gaussian(10), kind=Categorical(1, 10))
        >>> z = latent(torch.zeros(7, latent.num_params)).sample()
        >>> z.shape, {name: tuple(part.shape) for name, part in latent.split(z).items()}
        (torch.Size([7, 20]), {'style': (7, 10), 'kind': (7, 1, 10)})
    """

    takes_half = True

    def __init__(self, *unnamed: object, **families: Family) -> None:
        super().__init__()
        wrong = {name: family for name, family in families.items() if not isinstance(family, Family)}
        if unnamed or wrong or not families:
            what = f"{next(iter(wrong))} is {next(iter(wrong.values()))!r}" if wrong else "no part was given"
            what = f"{unnamed[0]!r} has no name" if unnamed else what
            raise TypeError(f"{what}; name families, such as rp.Joint(style=rp.Gaussian(10), kind=rp.Bernoulli(4)).")
        self.families = families
        self.learned_families = modules_among(families.values())
        self.event_shape = torch.Size([sum(family.event_shape.numel() for family in families.values())])
        self.num_params = sum(family.num_params for family in families.values())

    @property
    def num_features(self) -> int:
        return sum(family.num_features for family in self.families.values())

    def __repr__(self) -> str:
        return f"Joint({', '.join(f'{name}={family}' for name, family in self.families.items())})"

    def split(self, z: Tensor) -> dict[str, Tensor]:
        """A draw `[..., event]` as its parts, each `[..., *its event shape]`."""
        return split(z, self.families)

    def features(self, z: Tensor) -> Tensor:
        parts = self.split(z)
        return torch.cat([family.features(parts[name]) for name, family in self.families.items()], -1)

    def likelihood(self, params: Tensor) -> Distribution:
        pieces = self._pieces(self._checked(params))
        return Chain(self.families, {name: self.families[name].likelihood(piece) for name, piece in pieces.items()})

    def standard(self, zeros: Tensor) -> Distribution:
        pieces = self._pieces(zeros)
        return Chain(self.families, {name: self.families[name].standard(piece) for name, piece in pieces.items()})

    def _distribution(self, params: Tensor) -> Distribution:
        pieces = self._pieces(params)
        return Chain(self.families, {name: self.families[name](piece) for name, piece in pieces.items()})

    def _pieces(self, params: Tensor) -> dict[str, Tensor]:
        sizes = [family.num_params for family in self.families.values()]
        return dict(zip(self.families, params.split(sizes, -1), strict=True))
