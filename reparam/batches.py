"""Any data, as batches that fit the model: on its device, in its precision, inside the support of its likelihood."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sized
from operator import length_hint
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.utils.data import DataLoader, Dataset, DistributedSampler, IterableDataset, default_collate

from reparam._checks import whole
from reparam._spelling import public
from reparam._tensors import unwrap
from reparam.data import Batches, Data, as_batch, as_data, as_tensor, is_table
from reparam.data.data import stored_batch
from reparam.data.protocols import bits_as_bytes
from reparam.distributions import LevelSet
from reparam.distributions.elementwise import OpenUnitInterval
from reparam.draws import check_event
from reparam.hierarchy import Chain
from reparam.inspection import check_model, device_and_dtype, evaluating, own_random_numbers
from reparam.model import LatentVariableModel
from reparam.not_finite import faults_named

AnyData = Data | Tensor | NDArray[Any] | Dataset[Any] | Iterable[Any]


def batches_for(
    model: LatentVariableModel, data: AnyData, batch_size: int, *, shuffle: bool = False, drop_last: bool = False
) -> Batches | ForeignBatches:
    """Checked batches of `data` for `model`.

    Args:
        model: whose device and precision the batches get.
        data: `Data`, a table of examples (a tensor, an array of any library, a sparse matrix, a data frame, a list of
            lists of numbers), a torch `Dataset` of examples, or an iterable of batches such as a `DataLoader`.
        batch_size: examples a batch; an iterable of batches brings its own.
        shuffle: a new order at every pass; any iterable brings its own.
        drop_last: leave out a last batch that is shorter than the others.

    Raises:
        TypeError: data of another kind.
        ValueError: data of a wrong shape, not finite, or outside the support of the likelihood; `drop_last` with an
            iterable of batches.
    """
    check_model(model)
    device, dtype = device_and_dtype(model)
    if isinstance(data, Data) or is_table(data):
        examples = as_data(data, dtype).to(device)
        with own_random_numbers(device, seed=0):  # "dynamic" data draw bits when they are looked at
            fits = Fits(model, examples[:1])
            for block in () if fits.contains(examples) else examples.blocks():
                fits.check(examples[block], block.start)
        return examples.batches(batch_size, shuffle=shuffle, drop_last=drop_last)
    if isinstance(data, Dataset):
        return ForeignBatches(model, _loader(data, batch_size, shuffle, drop_last), device, dtype)
    if isinstance(data, tuple | list) and len(data) > 1 and _is_labelled(data):
        raise TypeError(
            f"data is a {type(data).__name__} (x, y), of shapes {_shape_of(data[0])} and {_shape_of(data[1])}; a model "
            "takes x alone. Pass its first element, or rp.Data(x, labels=y)."
        )
    if not isinstance(data, Iterable) or isinstance(data, str | Mapping):
        raise TypeError(
            f"data is a {type(data).__name__}; it must be Data, a tensor, an array, or an iterable of batches. "
            "Of load_data(...) or mnist(...) pass a part: mnist(...).train; of a file its data: load_data(path).train."
        )
    if drop_last:
        raise ValueError(
            f"drop_last is True, and data is a {type(data).__name__}, which makes its own batches. Give drop_last=True "
            "to your DataLoader."
        )
    return ForeignBatches(model, data, device, dtype)


def _is_labelled(data: tuple[Any, ...] | list[Any]) -> bool:
    """Whether a tuple or list holds examples and labels of as many rows, and not batches of one shape."""
    x, y = _shape_of(data[0]), _shape_of(data[1])
    return x is not None and y is not None and x[:1] == y[:1] and x[1:] != y[1:]


def _shape_of(values: object) -> tuple[int, ...] | None:
    return tuple(values.shape) if isinstance(values, Tensor | np.ndarray) else None


def _loader(data: Dataset[Any], batch_size: int, shuffle: bool, drop_last: bool) -> Iterable[Any]:
    """Batches of a torch data set, whose items are examples: x, or a tuple that begins with x."""
    whole("batch_size", batch_size)
    if isinstance(data, IterableDataset):
        return DataLoader(data, batch_size, collate_fn=_stack, drop_last=drop_last)
    if not isinstance(data, Sized):
        raise TypeError(
            f"data is a {type(data).__name__} without a length, so it cannot be gone over. Give it __len__, or pass a "
            "DataLoader."
        )
    return DataLoader(data, batch_size, shuffle=shuffle, collate_fn=_stack, drop_last=drop_last)


def _stack(items: list[Any]) -> Any:
    """Examples as one batch; labels are left out, and pictures of Pillow's become bytes."""
    examples = [item[0] if isinstance(item, tuple | list) and item else item for item in items]
    plain = isinstance(examples[0], Tensor) or not hasattr(examples[0], "__array_interface__")
    return default_collate(examples) if plain else torch.stack([as_tensor(np.asarray(each)) for each in examples])


class Fits:
    """Whether batches have the shape of the model's observations and lie in the support of its likelihood.

    The likelihood comes from a draw of the prior, so that no network sees x before x is known to fit.
    """

    def __init__(self, model: LatentVariableModel, x: Tensor) -> None:
        with evaluating(model, seed=0), faults_named(model, x):
            self.likelihood = model.likelihood(model.prior().sample((1, 1)))
        _warn_of_probabilities(self.likelihood)
        support: Any = self.likelihood.support
        self.device = x.device
        self.support = None if support is None or constraints.is_dependent(support) else support

    @property
    def support_is_bits(self) -> bool:
        """Whether the likelihood is one of bits alone."""
        return unwrap(self.likelihood)[0].support is constraints.boolean

    def contains(self, examples: Data) -> bool:
        """Whether the least and the largest value already show that all are inside: so where any interval is.

        Of bytes and of the real line not even these need be looked up, which in a large file takes a while.
        """
        support: Any = unwrap(self.likelihood)[0].support
        if examples.values.shape[1:] != self.likelihood.event_shape:
            return False
        if support is constraints.real:
            return True
        if not isinstance(support, constraints.interval | OpenUnitInterval):
            return False
        if examples.values.dtype != torch.uint8:
            return bool(support.check(examples.extremes().to(self.device)).all())
        every_byte = torch.tensor([0.0, 1.0], device=self.device)
        return bool(support.check(every_byte).all() or support.check(examples.extremes().to(self.device) / 255).all())

    def check(self, x: Tensor, start: int = 0) -> None:
        """Refuses `x`, whose first example is the data's number `start`, with the first offender."""
        check_event(x, self.likelihood)
        if self.support is None:
            return
        outside = ~self.support.check(x).reshape(len(x), -1).all(-1)
        if outside.any():
            offender = int(outside.nonzero()[0])
            base, values, where = self._offending(x[offender])
            low, high = values.min().item(), values.max().item()
            if self.support_is_bits and low >= 0 and high <= 1:
                raise ValueError(
                    f"example {start + offender} has grey values, from {low:g} to {high:g}, and the likelihood "
                    f"{type(base).__name__} takes 0 and 1 only. For grey pixels build it by rp.Bernoulli(...)."
                    "likelihood(params) or rp.distributions.Bernoulli(logits, means=True); for bits take "
                    'rp.mnist("dynamic").'
                )
            support: Any = base.support
            inside, first = support.check(values), ""
            if inside.shape == values.shape:
                index = [int(i) for i in (~inside).nonzero()[0]]
                first = f", such as {values[tuple(index)].item():g} at {index}"
            raise ValueError(
                f"example {start + offender} has values from {low:g} to {high:g}{first}, outside the support of the "
                f"likelihood {type(base).__name__}{where} ({_in_words(support)}). {_remedy(support, low, high)}"
            )

    def _offending(self, x: Tensor) -> tuple[Distribution, Tensor, str]:
        """The likelihood that one example does not fit, or that of a part which it does not fit, and that part."""
        base = unwrap(self.likelihood)[0]
        if isinstance(base, Chain):
            for name, part in base.split(x).items():
                member, support = base.member(name), cast(Any, base.member(name).support)
                if not support.check(part).all():
                    return unwrap(member)[0], part, f" of the part {name}"
        return base, x, ""


def _warn_of_probabilities(likelihood: Distribution) -> None:
    """Warns of log-odds that look like probabilities: a decoder that ends in a sigmoid gives one sign only."""
    base = unwrap(likelihood)[0]
    logits, support = getattr(base, "logits", None), cast(Any, base).support
    has_log_odds = support in (constraints.boolean, constraints.unit_interval, constraints.one_hot)
    if not has_log_odds or not isinstance(logits, Tensor) or logits.numel() < _ENOUGH:
        return
    if bool(((logits > 0) & (logits < 1)).all()):
        warnings.warn(
            f"all {logits.numel()} log-odds of the likelihood {type(base).__name__} lie in [0, 1], as probabilities "
            "do. If the decoder ends in a sigmoid or softmax, leave that out: the family applies it.",
            stacklevel=2,
        )


_ENOUGH = 32  # so many log-odds of a decoder without a sigmoid lie in [0, 1] with a probability below 2**-32


def _in_words(support: Any) -> str:
    """torch names its constraints by their classes."""
    words = {
        constraints.nonnegative_integer: "whole numbers from 0",
        constraints.positive: "numbers above 0",
        constraints.simplex: "shares that sum to one",
        constraints.unit_interval: "numbers from 0 to 1",
        constraints.boolean: "0 and 1",
    }
    return words.get(support, str(support)) if support.__hash__ else str(support)


def _remedy(support: Any, low: float, high: float) -> str:
    """What to do with data outside of a support."""
    if isinstance(support, OpenUnitInterval) and low >= 0 and high <= 1:
        return "At 0 and 1 its density may be infinite: squeeze x into (0, 1), such as (x * 254 + 0.5) / 255."
    if isinstance(support, LevelSet) and support.step != 1:
        most = support.num_levels - 1
        bytes_too = ", or pass the bytes (uint8)" if most == 255 else ""
        return (
            f"Round the data to levels, (x * {most}).round() / {most}{bytes_too}; or choose an observation family over "
            "real numbers, such as Gaussian."
        )
    if isinstance(support, LevelSet) or support is constraints.nonnegative_integer:
        return (
            f"Counts and levels are whole numbers, passed as {public('Data')}(counts.float()): bytes (uint8) are "
            "divided by 255. For grey values choose an observation family such as Bernoulli, Gaussian or "
            "DiscretizedLogistic."
        )
    return "Rescale the data, or choose an observation family with that support, such as Gaussian."


class ForeignBatches:
    """Somebody else's batches, moved to the model; each one of the first pass is checked."""

    def __init__(
        self, model: LatentVariableModel, source: Iterable[Any], device: torch.device, dtype: torch.dtype
    ) -> None:
        self.model = model
        self.source = source
        self.device = device
        self.dtype = dtype
        self.checked = False

    @property
    def batch_size(self) -> int | None:
        """Examples a batch, where the source says so."""
        size = getattr(self.source, "batch_size", None)
        return size if isinstance(size, int) else None

    @property
    def once_only(self) -> bool:
        """Whether a second pass would find nothing."""
        return isinstance(self.source, Iterator)

    @property
    def sampler(self) -> DistributedSampler[Any] | None:
        """What gives each of several processes its part of them, if something does."""
        samplers = (getattr(self.source, "sampler", None), getattr(self.source, "batch_sampler", None))
        each = (*samplers, *(getattr(sampler, "sampler", None) for sampler in samplers))
        return next((sampler for sampler in each if isinstance(sampler, DistributedSampler)), None)

    @property
    def generators(self) -> list[torch.Generator]:
        """The random generators that a loader and its samplers may have of their own."""
        samplers = (getattr(self.source, "sampler", None), getattr(self.source, "batch_sampler", None))
        parts = (self.source, *samplers, *(getattr(sampler, "sampler", None) for sampler in samplers))
        found = [getattr(part, "generator", None) for part in parts]
        return list({id(each): each for each in found if isinstance(each, torch.Generator)}.values())

    @property
    def cannot_repeat(self) -> str | None:
        """The option of a loader by which a resumed pass gives other batches than the pass that was stopped."""
        if getattr(self.source, "persistent_workers", False):
            return "persistent_workers=True, whose random numbers are in no checkpoint"
        if getattr(self.source, "num_workers", 0) and not getattr(self.source, "in_order", True):
            return "in_order=False, which gives batches as the workers finish them"
        return None

    def begin_epoch(self, number: int) -> None:
        """Tells a `DistributedSampler`, whose shuffle depends on nothing else."""
        if self.sampler is not None:
            self.sampler.set_epoch(number)

    def __length_hint__(self) -> int:
        return length_hint(self.source)

    def __iter__(self) -> Iterator[Tensor]:
        fits: Fits | None = None
        start, largest_byte = 0, 0
        for item in self.source:
            values = stored_batch(item)
            x = as_batch(values, self.device, self.dtype)
            if not self.checked:
                fits = fits or Fits(self.model, x[:1])
                fits.check(x, start)
                start += len(x)
                largest_byte = max(largest_byte, int(values.max()) if values.dtype == torch.uint8 else 255)
            yield x
        if not self.checked and largest_byte == 1:
            raise bits_as_bytes()
        self.checked = True
