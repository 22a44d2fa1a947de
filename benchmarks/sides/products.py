"""No training at all: the matrix products of one step after another, the least that any side in PyTorch has to do."""

import math

import torch
from torch import Tensor

from sides import Case, Images, Product, Report


def operands(product: Product, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Two random matrices, laid out in memory as a linear layer has them, and room for what they make."""
    rows, inner, columns = product.rows, product.inner, product.columns
    left = torch.rand(inner, rows, dtype=dtype).T if product.left_transposed else torch.rand(rows, inner, dtype=dtype)
    right = (
        torch.rand(columns, inner, dtype=dtype).T
        if product.right_transposed
        else torch.rand(inner, columns, dtype=dtype)
    )
    return left, right, torch.empty(rows, columns, dtype=dtype)


def train(case: Case, variant: str, images: Images, epochs: int, report: Report) -> None:
    """`variant` is the precision of the factors, "bf16" or nothing for float32."""
    torch.manual_seed(0)
    dtype = torch.bfloat16 if variant == "bf16" else torch.float32
    step = [operands(product, dtype) for product in case.products()]
    for _ in range(epochs):
        for _ in range(math.ceil(len(images) / case.batch_size)):
            for left, right, result in step:
                torch.mm(left, right, out=result)
        report(math.nan)
