"""Which modules a forward pass over text uses: towers for images or sound beside a language model are left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..errors import ZobenchError
from ..forwards import unwatched

if TYPE_CHECKING:
    from .subject import Subject


def unreached(loaded: Subject) -> list[str]:
    """Names of the outermost modules that a forward over text depends on no parameter of, and of single parameters.

    Inside decoder blocks all counts as reached, experts that the text did not choose among it. Outside of them the
    graph of a forward decides, so that a weight that is read without its module being called is reached.
    """
    model: Any = loaded.model
    try:
        inside = {id(p) for block in loaded.blocks for p in block.module.parameters()}
    except ZobenchError:  # no blocks are found, so it cannot be told what is beside them
        return []
    outside = [p for p in model.parameters() if id(p) not in inside]
    reached = inside | _in_the_graph(model, outside, loaded)
    if all(id(p) in reached for p in outside) or not any(id(p) in reached for p in outside):
        return []
    return list(_outermost(model, "", reached))


def _in_the_graph(model: Any, parameters: list[nn.Parameter], loaded: Subject) -> set[int]:
    required = [(p, p.requires_grad) for p in model.parameters()]
    ids = torch.tensor([[loaded.pad_id] * 2], device=loaded.device)
    try:
        for p, _ in required:
            p.requires_grad_(False)
        for p in parameters:
            p.requires_grad_(True)
        with torch.enable_grad(), unwatched(model):
            out = model(input_ids=ids).logits
    finally:
        for p, before in required:
            p.requires_grad_(before)
    found, todo, seen = set[int](), [out.grad_fn], set[Any]()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        todo += [following for following, _ in node.next_functions]
    return found


def _outermost(module: nn.Module, name: str, reached: set[int]) -> Iterator[str]:
    """The outermost modules of which nothing is reached, and parameters of others that are not."""
    if any(True for _ in module.parameters()) and not any(id(p) in reached for p in module.parameters()):
        yield name
        return
    of = f"{name}." if name else ""
    yield from (of + n for n, p in module.named_parameters(recurse=False) if id(p) not in reached)
    for child, one in module.named_children():
        yield from _outermost(one, of + child, reached)


def left_out(name: str, names: Sequence[str]) -> bool:
    """Whether a parameter is one of these, or of one of these modules."""
    return any(name == one or name.startswith(f"{one}.") for one in names)
