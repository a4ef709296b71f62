"""A direction of noise on several small tensors at once: as many operations as on one of them.

The same bits as tensor by tensor. What it saves is Python on a CPU, and launches on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .. import kernels
from .algebra import Direction
from .handle import Handle
from .nodes import Drawn, Node
from .noise.philox import PART_OF_A_GPU
from .noise.source import Noise

MOST = 1 << 17
"""Entries of the tensors of a run on a CPU: so many that caches hold them."""


def runs(handles: Sequence[Handle], most_on_cpu: int) -> Iterator[list[Handle]]:
    """The handles in order, in runs of small neighbours of one group, dtype and device without masks; others alone.

    most_on_cpu: the entries of a run's tensors there; 0: each tensor is alone.
    """
    run: list[Handle] = []
    size = 0
    for p in handles:
        n, most = p.param.numel(), most_on_cpu if p.param.device.type == "cpu" else PART_OF_A_GPU
        if run and not (size + n <= most and p.mask is None and _alike(run[-1], p)):
            yield run
            run, size = [], 0
        run.append(p)
        size += n if p.mask is None else most
    if run:
        yield run


def _alike(a: Handle, b: Handle) -> bool:
    return a.group is b.group and a.param.dtype == b.param.dtype and a.param.device == b.param.device


def values_of(d: Direction, run: Sequence[Handle], drawn: Drawn) -> list[Tensor] | None:
    """The values on each tensor of a run; None where they are computed one by one: other nodes, shapes, kernels."""
    if not d.terms or kernels.takes(run[0].raw):
        return None
    if not all(_whole(n, p, drawn) for n in d.terms for p in run):
        return None
    out: list[Tensor] = []
    own = False
    for n, c in d.terms.items():
        values = [_there(drawn.value(n, p, lambda node, handle: None)) for p in run]
        one = not isinstance(c, Tensor) and c == 1
        terms = values if one else list(torch._foreach_mul(values, d.coefficient(n, c, values[0])))
        if not out:
            out, own = terms, not one
        elif own:
            torch._foreach_add_(out, terms)
        else:
            out, own = list(torch._foreach_add(out, terms)), True
    return out


def _whole(n: Node, p: Handle, drawn: Drawn) -> bool:
    """Whether it is noise of the tensor's shape, or was computed in this step and kept, in that shape."""
    if isinstance(n, Noise):
        return n.shape_on(p) == tuple(p.shape)
    kept = drawn.kept(n, p)
    return kept is not None and kept.shape == p.shape


def _there(value: Tensor | None) -> Tensor:
    assert value is not None
    return value
