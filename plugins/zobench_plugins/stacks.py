"""Matrices as methods of low rank see them: tensors of two axes, and those that hold the matrices of all experts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from zobench import Buffer, Estimator, Handle, ZobenchError


def stacked(p: Handle) -> bool:
    """Whether a tensor holds one matrix for each expert of a block, (experts, rows, columns)."""
    return p.ndim == 3 and "expert" in p.name


def matrix_like(p: Handle) -> bool:
    """Whether a tensor is a matrix, or a stack of them, each of which is treated as one."""
    return p.ndim == 2 or stacked(p)


def others(p: Handle) -> bool:
    """Whether it is neither."""
    return not matrix_like(p)


def sides(p: Handle) -> tuple[int, int]:
    """Rows and columns of the matrix, or of each in the stack."""
    return p.shape[-2], p.shape[-1]


def tall(p: Handle, rank: int) -> tuple[int, ...]:
    """The shape of a left factor (rows, rank), one for each matrix of a stack."""
    return *p.shape[:-1], rank


def wide(p: Handle, rank: int) -> tuple[int, ...]:
    """The shape of a right factor (columns, rank), one for each matrix of a stack."""
    return *p.shape[:-2], p.shape[-1], rank


def mark(estimator: Estimator, where: Callable[[Handle], bool]) -> Buffer:
    """The number 1 on these tensors, and no value on others."""
    return estimator.compute(lambda p: torch.ones((), dtype=p.dtype, device=p.param.device), on=where, name="on")


def refuse_stacks(method: str, handles: Iterable[Handle], mend: str) -> None:
    """ZobenchError for a tensor of all experts' matrices, in a method that knows single matrices alone."""
    found = next((p.name for p in handles if stacked(p)), None)
    if found is not None:
        raise ZobenchError(
            f"{method}: {found} holds the matrices of all experts in one tensor, which it cannot tell apart; {mend}"
        )
