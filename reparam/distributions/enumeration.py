"""All joint states of a discrete distribution."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam._tensors import unwrap
from reparam.distributions.rounded import Rounded

MAX_STATES = 2**16


def joint_support(distribution: Distribution, *, max_states: int = MAX_STATES) -> Tensor:
    """Every value that one draw of a finite discrete distribution can take.

    Works through `Independent`, where torch's own `enumerate_support` raises: the states of the parts are combined.

    Args:
        distribution: a distribution with finite support, such as `Independent(Bernoulli(logits), 1)`.
        max_states: the most states that are made.

    Returns:
        The S states, `[S, *event_shape]`, in lexicographic order.

    Raises:
        TypeError: the support is not finite, or the distribution cannot list it.
        ValueError: more than `max_states` states.

    Example:
        >>> coins = torch.distributions.Independent(torch.distributions.Bernoulli(logits=torch.zeros(5, 2)), 1)
        >>> joint_support(coins)
        tensor([[0., 0.],
                [0., 1.],
                [1., 0.],
                [1., 1.]])
    """
    base, num_reinterpreted = unwrap(distribution)
    if not base.has_enumerate_support:
        raise TypeError(
            f"{type(base).__name__} cannot list its states; enumeration takes distributions of finite support "
            "such as Bernoulli or Categorical. Use RLOO for any latent, Pathwise for a continuous one."
        )
    support = base.enumerate_support(expand=False)
    num_values = support.shape[0]
    values = support.reshape(num_values, *base.event_shape)
    parts = base.batch_shape[len(base.batch_shape) - num_reinterpreted :]
    num_states = num_values ** parts.numel()
    if num_states > max_states:
        raise ValueError(
            f"{parts.numel()} variables of {num_values} values have {num_values}**{parts.numel()} joint states; "
            f"enumeration takes at most {max_states}. "
            "Use a smaller latent, or an estimator that samples, such as RLOO."
        )
    index = torch.cartesian_prod(*[torch.arange(num_values, device=values.device)] * parts.numel())
    states = values[index.reshape(num_states, *parts)]
    return distribution.rounded(states) if isinstance(distribution, Rounded) else states
