"""What stored numbers mean under each protocol: the one place that checks their types and their ranges.

| type | grey, dynamic, threshold | static | as given |
|---|---|---|---|
| bool | refused: bits are "static" | bits | 0 and 1 |
| uint8 | bytes: 0 to 255 stand for 0 to 1 | bits 0 and 1, or bytes 0 and 255 | bytes |
| other integers | refused: no scale is known | bits 0 and 1 | the value |
| floating point | the value, in [0, 1] | bits 0 and 1 | the value |
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from reparam.data.rows import chunks_of, index_of, is_sparse, with_numbers

Protocol = Literal["grey", "dynamic", "threshold", "static", "as given"]
PROTOCOLS: tuple[Protocol, ...] = ("grey", "dynamic", "threshold", "static", "as given")
OF_MEANS: tuple[Protocol, ...] = ("grey", "dynamic", "threshold")

_INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64)


def kept(values: Tensor, protocol: Protocol, *, mapped: bool = False, source: str = "") -> Tensor:
    """`values` as `Data` keeps them under a protocol: the same tensor, or bits 0 and 1 as bytes 0 and 255.

    Args:
        values: `[N, *event]`, dense or CSR.
        protocol: how values become x.
        mapped: whether the values lie in a mapped file, which is never copied.
        source: what an error calls the data; if empty, "data".

    Returns:
        `values`; under "static" integers 0 and 1 as uint8 0 and 255, unless they lie in a mapped file.

    Raises:
        TypeError: a type that has no meaning under the protocol.
        ValueError: NaN or Inf, values outside [0, 1], other values than bits, bits stored as bytes.
    """
    check_type(values.dtype, protocol, source)
    if values.dtype.is_floating_point:
        _check_finite(values, source)
    if protocol == "static":
        bits = as_bits(values, mapped=mapped, source=source)
        return values if values.dtype.is_floating_point else bits
    if holds_bits_as_bytes(values):
        raise bits_as_bytes(source)
    if protocol in OF_MEANS and not are_means(values):
        low, high = extremes(values)
        rule = (
            ", outside [0, 1]; bits are drawn with means in [0, 1]"
            if protocol == "dynamic"
            else f"; under the protocol {protocol!r} the model takes 0 to 1"
        )
        raise ValueError(
            f'{_holds(source)} values from {low:g} to {high:g}{rule}. Rescale the values, or choose "as given".'
        )
    return values


def bits_as_bytes(source: str = "") -> ValueError:
    """The error for values of which `holds_bits_as_bytes` is true."""
    what = f"{source} holds 0 and 1 as uint8" if source else "data are uint8 and hold only 0 and 1"
    return ValueError(
        f"{what}; uint8 stands for 0 to 255, so these would be almost black. Pass values.float() for bits, or choose "
        'the protocol "static"; for grey values store 0 to 255.'
    )


def check_type(dtype: torch.dtype, protocol: Protocol, source: str = "") -> None:
    """Refuses a type of numbers that has no meaning under a protocol.

    Raises:
        TypeError: complex numbers; bits and whole numbers other than bytes where means are expected.
    """
    if not (dtype.is_floating_point or dtype in (torch.bool, torch.uint8) or dtype in _INTEGERS):
        raise TypeError(
            f"{_holds(source)} {name_of(dtype)}; x is made of real numbers: bool, integers or floating point. "
            "Convert the values, for example to their real and imaginary parts as two columns."
        )
    if protocol in OF_MEANS and dtype != torch.uint8 and not dtype.is_floating_point:
        remedy = (
            'For bits choose the protocol "static".'
            if dtype == torch.bool
            else 'Convert pixels by .astype("uint8"), for bits choose the protocol "static", for counts "as given".'
        )
        raise TypeError(
            f"{_holds(source)} {name_of(dtype)}; it must hold uint8, where 0 to 255 stand for 0 to 1, or floating "
            f"point in [0, 1] under the protocol {protocol!r}. {remedy}"
        )


def scaled(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Stored numbers as x: bytes divided by 255, all other types by their value."""
    return rows.to(dtype).div_(255) if rows.dtype == torch.uint8 else rows.to(dtype)


def as_bits(values: Tensor, *, mapped: bool = False, source: str = "") -> Tensor:
    """Bits stored as 0 and 1 of any type, or as bytes 0 and 255, as such bytes.

    Args:
        values: `[N, *event]`, dense or CSR.
        mapped: whether the values lie in a mapped file; they are then checked, and returned as they are.
        source: what an error calls the data; if empty, "data".

    Raises:
        ValueError: other values, or a mapped file of 0 and 1 as uint8.
    """
    byte = values.dtype == torch.uint8
    ones = 255 if byte and any(bool((chunk == 255).any()) for chunk in chunks_of(values)) else 1
    for chunk in chunks_of(values):
        other = chunk[(chunk != 0) & (chunk != ones)]
        if len(other):
            raise ValueError(
                f"{_holds(source)} {other[0].item():g}; bits are 0 and 1, or bytes 0 and 255. "
                'For grey values choose the protocol "grey", "dynamic" or "threshold".'
            )
    if ones == 255 or (mapped and not byte):
        return values
    if mapped:
        raise ValueError(
            f"{_holds(source)} 0 and 1 as uint8 in a file that is too large to be copied into memory. Store 0 and 255 "
            "as uint8."
        )
    return with_numbers(values, lambda numbers: numbers.to(torch.uint8) * 255)


def extremes(values: Tensor) -> tuple[float, float]:
    """The least and the largest of all values, the zeros that a sparse matrix leaves out among them."""
    ends = [torch.stack(_comparable(chunk).aminmax()).double() for chunk in chunks_of(values)]
    if is_sparse(values) and len(values.values()) < values.numel():
        ends.append(torch.zeros(2, dtype=torch.float64, device=values.device))
    low, high = torch.stack(ends).aminmax()
    return low.item(), high.item()


def are_means(values: Tensor) -> bool:
    """Whether all values lie in [0, 1], bytes standing for that."""
    if values.dtype in (torch.uint8, torch.bool):
        return True
    low, high = extremes(values)
    return low >= 0 and high <= 1


def holds_bits_as_bytes(values: Tensor) -> bool:
    """Whether the values are bytes of which the largest is 1; the first block usually shows that it is not."""
    if values.dtype != torch.uint8:
        return False
    largest = 0
    for chunk in chunks_of(values):
        largest = max(largest, int(chunk.max()))
        if largest > 1:
            return False
    return largest == 1


def holds_bits(values: Tensor) -> bool:
    """Whether no other numbers occur than 0 and 1, or bytes 0 and 255; the first block usually shows that."""
    pairs = (1, 255) if values.dtype == torch.uint8 else (1,)
    return any(all(bool(((chunk == 0) | (chunk == ones)).all()) for chunk in chunks_of(values)) for ones in pairs)


def from_text(values: Tensor, protocol: Protocol) -> Tensor:
    """Numbers from a text, which has no types: as bytes where means are expected and they can be nothing else.

    Args:
        values: int64 if all numbers were written as whole ones, else float64.
        protocol: how values become x.

    Returns:
        uint8, if all numbers are whole, from 0 to 255, and at least one exceeds 1, and the protocol takes means; else
        `values`: counts under "as given", bits, shares.
    """
    if protocol not in OF_MEANS or values.dtype.is_floating_point:
        return values
    low, high = extremes(values)
    return values.to(torch.uint8) if low >= 0 and 1 < high <= 255 else values


def advice(values: Tensor, low: float, high: float, bits: bool) -> tuple[tuple[Protocol, ...], str]:
    """The protocols that take such values, the first of them to be recommended, and why."""
    if bits:
        return ("static",), "bits: static"
    if values.dtype.is_floating_point and (low < 0 or high > 1):
        return ("as given",), "numbers outside [0, 1]: as given, with an observation family over real numbers"
    if not values.dtype.is_floating_point and values.dtype != torch.uint8:
        return ("as given",), "whole numbers: as given, with an observation family of counts such as Poisson"
    text = "grey values: dynamic to compare with the literature on bits, grey to train on their means"
    return ("grey", "dynamic", "threshold", "as given"), text


def name_of(dtype: torch.dtype) -> str:
    """A type as NumPy writes it."""
    return str(dtype).removeprefix("torch.")


def _holds(source: str) -> str:
    return f"{source} holds" if source else "data hold"


def _check_finite(values: Tensor, source: str) -> None:
    start = 0
    for chunk in chunks_of(values):
        bad = ~_comparable(chunk).isfinite()
        if bad.any():
            first = index_of(values, start, [int(i) for i in bad.nonzero()[0]])
            raise ValueError(
                f"{_holds(source)} {chunk[bad][0].item()} at index {first}; every value must be finite. "
                "Remove or fill such entries first."
            )
        start += len(chunk)


def _comparable(chunk: Tensor) -> Tensor:
    """In a type of which torch finds the largest; it does not of unsigned integers and of eight-bit floats."""
    if chunk.dtype in (torch.uint16, torch.uint32):
        return chunk.to(torch.int64)
    if chunk.dtype == torch.uint64:
        return chunk.to(torch.float64)
    return chunk.float() if chunk.dtype.is_floating_point and chunk.dtype.itemsize == 1 else chunk
