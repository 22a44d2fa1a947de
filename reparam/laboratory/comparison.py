"""An estimator's gradients against a reference: the bias, the length of the exact gradient, and their errors."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from reparam.laboratory.meter import NUM_BLOCKS, Meter
from reparam.laboratory.reference import Reference
from reparam.laboratory.report import VISIBLE, Finding


@dataclass(frozen=True)
class Comparison:
    """The bias b = E[g] - g* of an estimator, from block means of its gradients and of the reference.

    Attributes:
        squared: unbiased estimate of |b|^2; it can be negative.
        squared_error: its standard error, that of the reference included.
        seen: whether the bias is visible: `squared` is more than three of its errors.
        unit: length of g*, by which figures are made relative; 1 if g* is exactly zero.
        unit_error: its standard error over its value.
        bias: |b| / unit.
        bias_error: its standard error, or the bias that could be hidden where none is seen.
    """

    squared: float
    squared_error: float
    seen: bool
    unit: float
    unit_error: float
    bias: float
    bias_error: float


def compare(means: Tensor, reference: Tensor) -> Comparison:
    """Compares gradients by products of different blocks, which have no noise in common.

    `|b|^2` is the mean of `(a_i - r_k) . (a_j - r_l)` over different blocks i, j of the estimator and different blocks
    k, l of the reference; `|g*|^2` that of `r_k . r_l`. Each error leaves out one block at a time, of either side: the
    noise of the reference, of covariance S, adds about 4 b'Sb to the variance of `|b|^2`.

    Args:
        means: block means of the estimator's gradients, `[I, P]`.
        reference: block means of the reference, `[J, P]`; one row is an exact gradient.
    """
    center = reference.mean(0)
    ours, theirs = means - center, reference - center  # so that a small bias is no difference of large numbers
    squared_length, lengths = _products(reference)
    of_reference, without_reference = _products(theirs)
    of_means, without_means = _products(ours)
    squared = of_means + of_reference
    if len(reference) > 1:  # without block k the reference's mean is at -r_k / (J - 1)
        without_reference = without_reference + 2 / (len(reference) - 1) * (theirs @ ours.mean(0))
    squared_error = math.hypot(_error(without_means), _error(without_reference))
    length_error = _error(lengths)
    square_unit = max(squared_length, length_error) or 1.0
    relative = max(squared, 0.0) / square_unit
    error = math.hypot(_error(without_means), _error(without_reference - relative * lengths)) / square_unit
    bias = math.sqrt(relative)
    # where nothing is seen, the square root of the error is what could be hidden
    bias_error = min(error / (2 * bias), math.sqrt(error)) if bias > 0 else math.sqrt(error)
    return Comparison(
        squared,
        squared_error,
        seen=squared > VISIBLE * squared_error,
        unit=math.sqrt(square_unit),
        unit_error=length_error / (2 * square_unit),
        bias=bias,
        bias_error=bias_error,
    )


def _products(blocks: Tensor) -> tuple[float, Tensor]:
    """The mean product of two different rows, and that without each row; of one row its square, and nothing."""
    n, gram = len(blocks), blocks @ blocks.T
    if n == 1:
        return float(gram), gram.new_zeros(0)
    crossed = gram - gram.diagonal().diag()
    total, by_row = crossed.sum(), crossed.sum(1)
    return float(total) / (n * (n - 1)), (total - 2 * by_row) / ((n - 1) * (n - 2))


def _error(without: Tensor) -> float:
    """The jackknife's standard error from values that leave out one block each; 0 where there is none to leave out."""
    n = len(without)
    return math.sqrt(float((without - without.mean()).square().sum()) * (n - 1) / n) if n else 0.0


def finding(name: str, meter: Meter, reference: Reference, most: tuple[float, float]) -> Finding:
    """What is reported of an estimator.

    Args:
        name: of the estimator.
        meter: its gradients.
        reference: what they are compared with.
        most: seconds and decodings of one gradient of the estimator that takes most.
    """
    nan, cost = math.nan, (meter.seconds, meter.decodings)
    nothing = Finding(name, reference.bound, nan, nan, nan, nan, nan, nan, *cost, broken=meter.broken)
    if meter.broken:
        return nothing
    total, mean = float(meter.variance.sum()), meter.block_means.mean(0)
    signal = math.sqrt(max(0.0, float(mean @ mean) - total / meter.repeats))
    ratio = signal / math.sqrt(total) if total > 0 else math.inf
    if reference.blocks is None or reference.gradient is None:
        return replace(nothing, signal_to_noise=ratio, heaviest=meter.heaviest)
    found = compare(meter.block_means, reference.blocks)
    square_unit, scale_error = found.unit**2, 2 * found.unit_error
    total_error = float(meter.block_variances.std()) / math.sqrt(NUM_BLOCKS)
    share, share_decodings = meter.seconds / most[0], meter.decodings / most[1]
    seen_square = found.squared if found.seen else 0.0
    variance, mse = total / square_unit, (seen_square + total * share) / square_unit
    own_error = math.hypot(found.squared_error if found.seen else 0.0, total_error * share) / square_unit
    return Finding(
        name,
        reference.bound,
        bias=found.bias,
        bias_error=found.bias_error,
        variance=variance,
        variance_error=math.hypot(total_error / square_unit, variance * scale_error),
        # the meter's cosine is with the reference, which is longer than the exact gradient by its noise
        cosine=max(-1.0, min(1.0, meter.cosine * float(reference.gradient.norm()) / found.unit)),
        signal_to_noise=ratio,
        mse=mse,
        mse_decodings=(seen_square + total * share_decodings) / square_unit,
        mse_error=math.hypot(own_error, mse * scale_error),
        length_error=found.unit_error,
        heaviest=meter.heaviest,
        biased=found.seen,
        seconds=meter.seconds,
        decodings=meter.decodings,
    )
