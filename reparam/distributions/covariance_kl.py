"""KL(q || p) between normals with a covariance, by sums of squares and not by differences of traces."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import LowRankMultivariateNormal, MultivariateNormal

from reparam.distributions.family_kl import Form
from reparam.distributions.ratios import normal_kl, ratio_gap


def _columns(*columns: Tensor) -> Tensor:
    """Matrices `[..., n, k]` side by side, their batch axes broadcast."""
    batch = torch.broadcast_shapes(*(column.shape[:-2] for column in columns))
    return torch.cat([column.expand(*batch, *column.shape[-2:]) for column in columns], -1)


def _squares(x: Tensor) -> Tensor:
    return x.square().sum((-2, -1))


def _log_diagonal(tril: Tensor) -> Tensor:
    return tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _full_full(q: MultivariateNormal, p: MultivariateNormal) -> Tensor:
    """By the factor of q in units of that of p: on its diagonal as independent normals, below it squares."""
    shift = (q.loc - p.loc).unsqueeze(-1)
    solved = torch.linalg.solve_triangular(p.scale_tril, _columns(q.scale_tril, shift), upper=False)
    q_diagonal, p_diagonal = (each.scale_tril.diagonal(dim1=-2, dim2=-1) for each in (q, p))
    zero = torch.zeros_like(q_diagonal)
    rest = _squares(solved[..., :-1].tril(-1)) + _squares(solved[..., -1:])
    return normal_kl(zero, q_diagonal, zero, p_diagonal).sum(-1) + 0.5 * rest


class _LowRank:
    """A covariance `D^(1/2) (I + W W^T) D^(1/2)`, with `W = D^(-1/2) cov_factor`, `[..., n, r]`."""

    def __init__(self, given: LowRankMultivariateNormal) -> None:
        self.scale: Tensor = given.cov_diag.sqrt().unsqueeze(-1)
        self.factor: Tensor = given.cov_factor / self.scale
        identity = torch.eye(self.factor.shape[-1], dtype=self.factor.dtype, device=self.factor.device)
        self.tril: Tensor = torch.linalg.cholesky(identity + self.factor.mT @ self.factor)
        self.log_det = 2 * _log_diagonal(self.tril)  # of I + W W^T

    def squares(self, columns: Tensor) -> Tensor:
        """`trace(X^T (I + W W^T)^(-1) X)` of `X = D^(-1/2) columns`, `[..., n, k]`.

        With P the inverse it is `|P X|^2 + |W^T P X|^2`, where a difference `|X|^2 - ...` would leave no digit of
        columns that W nearly spans.
        """
        x = columns / self.scale
        inner = torch.cholesky_solve(self.factor.mT @ x, self.tril)
        return _squares(x - self.factor @ inner) + _squares(inner)

    def shares(self) -> Tensor:
        """The diagonal of `W W^T (I + W W^T)^(-1)`, `[..., n]`."""
        solved: Tensor = torch.linalg.solve_triangular(self.tril, self.factor.mT, upper=False)
        return solved.square().sum(-2)


def _low_low(q: LowRankMultivariateNormal, p: LowRankMultivariateNormal) -> Tensor:
    of_q, of_p = _LowRank(q), _LowRank(p)
    squares = of_p.squares(_columns(q.cov_factor, (q.loc - p.loc).unsqueeze(-1)))
    of_diagonals = ratio_gap(q.cov_diag, p.cov_diag) - q.cov_diag / p.cov_diag * of_p.shares()
    kl: Tensor = 0.5 * (of_diagonals.sum(-1) + squares + of_p.log_det - of_q.log_det)
    return kl


def _full_low(q: MultivariateNormal, p: LowRankMultivariateNormal) -> Tensor:
    of_p = _LowRank(p)
    squares = of_p.squares(_columns(q.scale_tril, (q.loc - p.loc).unsqueeze(-1)))
    log_det = of_p.log_det + 2 * (of_p.scale.log().sum((-2, -1)) - _log_diagonal(q.scale_tril))
    kl: Tensor = 0.5 * (squares - q.loc.shape[-1] + log_det)
    return kl


def _low_full(q: LowRankMultivariateNormal, p: MultivariateNormal) -> Tensor:
    of_q = _LowRank(q)
    columns = _columns(q.cov_factor, q.cov_diag.sqrt().diag_embed(), (q.loc - p.loc).unsqueeze(-1))
    squares = _squares(torch.linalg.solve_triangular(p.scale_tril, columns, upper=False))
    log_det = 2 * (_log_diagonal(p.scale_tril) - of_q.scale.log().sum((-2, -1))) - of_q.log_det
    kl: Tensor = 0.5 * (squares - q.loc.shape[-1] + log_det)
    return kl


FORMS: dict[tuple[type, type], Form] = {
    (MultivariateNormal, MultivariateNormal): _full_full,
    (LowRankMultivariateNormal, LowRankMultivariateNormal): _low_low,
    (MultivariateNormal, LowRankMultivariateNormal): _full_low,
    (LowRankMultivariateNormal, MultivariateNormal): _low_full,
}
