"""Models of several stochastic layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from reparam._tensors import flat, folded
from reparam.families import Family
from reparam.hierarchy.chain import Chain, Part
from reparam.hierarchy.composite import modules_among
from reparam.model import Model, check_observation, check_prior, check_range, check_width, made_prior


class _Layers(Model, ABC):
    """`p(x, z_1, ..., z_L) = p(x|z_1) p(z_1|z_2) ... p(z_L)`: what models of several layers generate alike."""

    _standard: Tensor

    def __init__(
        self,
        latents: Sequence[Family],
        observation: Family,
        encoders: Sequence[nn.Module],
        decoders: Sequence[nn.Module],
        prior: nn.Module | None,
    ) -> None:
        super().__init__()
        _check_layers(latents, observation, encoders=encoders, decoders=decoders)
        for number, (family, decoder) in enumerate(zip(latents, decoders, strict=True)):
            check_width(f"decoder {number}", decoder, family.num_features, f"the num_features of {family}")
        for number, (family, decoder) in enumerate(zip((observation, *latents), decoders, strict=False)):
            check_range(f"decoder {number}", decoder, family)
        if prior is not None:
            check_prior(prior, latents[-1])
        self.latents = {f"z{number}": family for number, family in enumerate(latents, 1)}
        self.observation = observation
        self.learned_families = modules_among(latents)
        self.encoders = nn.ModuleList(encoders)
        self.decoders = nn.ModuleList(decoders)
        self.top = prior
        dtype = next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.get_default_dtype())
        self.register_buffer("_standard", torch.zeros(latents[-1].num_params, dtype=dtype), persistent=False)

    def prior(self) -> Distribution:
        """p(z), drawn from the top: p(z_L), then p(z_{L-1}|z_L), and so on."""
        names = list(self.latents)
        standard, top = self._standard, self.latents[names[-1]]
        last = top.standard(standard) if self.top is None else made_prior(self.top, standard.dtype)
        parts: dict[str, Part] = {names[-1]: last}
        for number in range(len(names) - 2, -1, -1):
            parts[names[number]] = partial(self._generate, number)
        return Chain(self.latents, parts)

    def _generate(self, number: int, features: dict[str, Tensor]) -> Distribution:
        return self.latents[f"z{number + 1}"](self._decode(number + 1, features[f"z{number + 2}"]))

    def _decode(self, number: int, features: Tensor) -> Tensor:
        """The parameters of layer `number` (0 is x) from the features of the layer above."""
        return folded(self.decoders[number], features)

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x|z) = p(x|z_1), with the leading axes of z as its batch shape."""
        family = self.latents["z1"]
        size = family.event_shape.numel()
        z1 = z[..., :size].reshape(*z.shape[:-1], *family.event_shape)
        return self.observation.likelihood(self._decode(0, family.features(z1)))

    @abstractmethod
    def posterior(self, x: Tensor) -> Distribution: ...

    def extra_repr(self) -> str:
        return f"latents={list(self.latents.values())}, observation={self.observation}"


class Hierarchy(_Layers):
    """Several stochastic layers with a posterior that goes bottom-up, `q(z_1|x) q(z_2|z_1) ... q(z_L|z_{L-1})`.

    Bits with linear layers make a sigmoid belief network, normals the deep latent Gaussian model.

    Args:
        latents: the families of z_1 (next to x) to z_L.
        observation: the family of x.
        encoders: from x to the parameters of z_1, from the features of z_1 to those of z_2, and so on.
        decoders: from the features of z_1 to the parameters of x, from those of z_2 to those of z_1, and so on.
        prior: a module whose `forward()` returns p(z_L); the family's standard member if not given.

    Raises:
        TypeError, ValueError: other than one network each way for each latent.

    Reference:
        Burda, Grosse, Salakhutdinov, Importance Weighted Autoencoders, 2015, arXiv 1509.00519, section 2; Neal,
        Connectionist Learning of Belief Networks, 1992 (bits).

    Example:
        >>> from reparam import Bernoulli, draw
        >>> bits = Bernoulli(4)
        >>> model = Hierarchy([bits, bits], Bernoulli(9), [nn.Linear(9, 4), nn.Linear(4, 4)],
        ...                   [nn.Linear(4, 9), nn.Linear(4, 4)])
        >>> draw(model, torch.zeros(7, 9), num_samples=5).log_weight.shape
        torch.Size([5, 7])
    """

    def __init__(
        self,
        latents: Sequence[Family],
        observation: Family,
        encoders: Sequence[nn.Module],
        decoders: Sequence[nn.Module],
        *,
        prior: nn.Module | None = None,
    ) -> None:
        super().__init__(latents, observation, encoders, decoders, prior)
        for number, (family, encoder) in enumerate(zip(latents, encoders[1:], strict=False), 1):
            check_width(f"encoder {number}", encoder, family.num_features, f"the num_features of {family}")
        for number, (family, encoder) in enumerate(zip(latents, encoders, strict=True)):
            check_range(f"encoder {number}", encoder, family)

    def posterior(self, x: Tensor) -> Distribution:
        """q(z|x), drawn from the bottom."""
        check_observation(x, self.observation)
        names = list(self.latents)
        parts: dict[str, Part] = {names[0]: self.latents[names[0]](flat(self.encoders[0], x, self._standard.dtype))}
        for number, name in enumerate(names[1:], 1):
            parts[name] = partial(self._infer, number, name)
        return Chain(self.latents, parts)

    def _infer(self, number: int, name: str, features: dict[str, Tensor]) -> Distribution:
        return self.latents[name](folded(self.encoders[number], features[f"z{number}"]))


class Ladder(_Layers):
    """Several stochastic layers with a posterior that goes top-down, as the prior does: `q(z_L|x) ... q(z_1|z_2, x)`.

    A deterministic pass takes x up; on the way down each layer's raw parameters are those of the prior given the layer
    above plus a correction from x. So of a Gaussian the mean moves and the scale is multiplied, of bits and symbols the
    log-odds add (a product of experts). A correction of zero leaves the prior; at the top, the standard member.

    Args:
        latents: the families of z_1 (next to x) to z_L.
        observation: the family of x.
        encoders: the deterministic pass, from x to h_1, from h_1 to h_2, and so on.
        corrections: from h_l to as many numbers as z_l has parameters.
        decoders: from the features of z_1 to the parameters of x, from those of z_2 to those of z_1, and so on.
        prior: a module whose `forward()` returns p(z_L); the family's standard member if not given.

    Raises:
        TypeError, ValueError: other than one network of each kind for each latent.

    Reference:
        Sonderby, Raiko, Maaloe, Sonderby, Winther, Ladder Variational Autoencoders, 2016, arXiv 1602.02282 (top-down
        inference; they weigh the two by precision); Vahdat, Kautz, NVAE, 2020, arXiv 2007.03898, section 3.2 (the
        residual form taken here).
    """

    def __init__(
        self,
        latents: Sequence[Family],
        observation: Family,
        encoders: Sequence[nn.Module],
        corrections: Sequence[nn.Module],
        decoders: Sequence[nn.Module],
        *,
        prior: nn.Module | None = None,
    ) -> None:
        super().__init__(latents, observation, encoders, decoders, prior)
        _check_layers(latents, observation, corrections=corrections)
        for number, (family, correction) in enumerate(zip(latents, corrections, strict=True)):
            check_range(f"correction {number}", correction, family)
        self.corrections = nn.ModuleList(corrections)

    def posterior(self, x: Tensor) -> Distribution:
        """q(z|x), drawn from the top."""
        check_observation(x, self.observation)
        hidden, corrections = x, []
        for encoder, correction in zip(self.encoders, self.corrections, strict=True):
            hidden = encoder(hidden)
            corrections.append(flat(correction, hidden, self._standard.dtype))
        for number, (family, given) in enumerate(zip(self.latents.values(), corrections, strict=True), 1):
            if given.shape[1] != family.num_params:
                raise ValueError(
                    f"correction {number} has {given.shape[1]} outputs; {family} takes {family.num_params}, its "
                    "num_params."
                )
        names = list(self.latents)
        parts: dict[str, Part] = {names[-1]: self.latents[names[-1]](corrections[-1])}
        for number in range(len(names) - 2, -1, -1):
            parts[names[number]] = self._corrected(number, corrections[number])
        return Chain(self.latents, parts)

    def _corrected(self, number: int, correction: Tensor) -> Callable[[dict[str, Tensor]], Distribution]:
        def part(features: dict[str, Tensor]) -> Distribution:
            return self.latents[f"z{number + 1}"](self._decode(number + 1, features[f"z{number + 2}"]) + correction)

        return part


def _check_layers(latents: Sequence[Family], observation: Family, **networks: Sequence[nn.Module]) -> None:
    if isinstance(latents, Family):
        raise TypeError(f"latents is {latents}; give a list of families, next to x first: [{latents}, ...].")
    for family in (*latents, observation):
        if not isinstance(family, Family):
            raise TypeError(f"{family!r} is no family; give one such as rp.Gaussian(20) or rp.Bernoulli(784).")
    if not latents:
        raise ValueError("latents is empty; give at least one family, next to x first.")
    for kind, given in networks.items():
        for network in given:
            if not isinstance(network, nn.Module):
                raise TypeError(f"{network!r} in {kind} must be an nn.Module, such as rp.mlp(784, [200, 200], 200).")
        if len(given) != len(latents):
            raise ValueError(f"{len(given)} {kind} for {len(latents)} latents; give one for each, next to x first.")
