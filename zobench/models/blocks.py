"""The decoder blocks of a causal language model, in the order in which they run, found by structure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..errors import ZobenchError
from .text import text_config


@dataclass(frozen=True)
class Block:
    """One decoder block: attention, MLP and norms around the residual stream."""

    index: int
    """0-based, in the order of the forward pass."""
    name: str
    """The module's name in the model: "model.layers.1"."""
    module: nn.Module

    def parameter_names(self) -> list[str]:
        """Full names of the block's parameters, as in `model.named_parameters()` and in its order."""
        return [f"{self.name}.{name}" for name, _ in self.module.named_parameters()]

    def numel(self) -> int:
        """The number of parameters in the block."""
        return sum(p.numel() for p in self.module.parameters())


def decoder_blocks(model: nn.Module) -> list[Block]:
    """The decoder blocks of `model` in order.

    The rule. Candidates are the `ModuleList`s in which every entry has parameters and that lie in no other
    `ModuleList` (so the experts of a mixture are none). If some are as long as the config's `num_hidden_layers`,
    only those count; otherwise only those whose entries are all of one class. Where the config is of a wrapper, with
    a config of text inside, only those that lie nearest to the text's embedding count. Among what is left the longest
    wins, then the one with most parameters, then the first. Names follow from the place: `model.layers.3` in LLaMA,
    Mistral, Qwen, Gemma and Phi, `model.decoder.layers.3` in OPT, `transformer.h.3` in GPT-2,
    `gpt_neox.layers.3` in GPT-NeoX; wrappers put theirs in front.

    Raises ZobenchError where the model has no such list, or has the parts of its blocks in several, as XLM has.
    """
    candidates = list(_outermost_lists(model, ""))
    declared = _declared_blocks(model)
    fitting = [c for c in candidates if len(c[1]) == declared]
    fitting = fitting or [c for c in candidates if len({type(m) for m in c[1]}) == 1]
    if not fitting:
        raise ZobenchError(
            f"found no decoder blocks in {type(model).__name__}: it has no ModuleList of like modules with parameters; "
            "use a selector that needs no blocks (--selector all)"
        )
    fitting = _beside_the_text(fitting, model)
    name, blocks = max(fitting, key=lambda c: (len(c[1]), _numel(c[1])))
    home = name.rpartition(".")[0]
    parts = [
        n
        for n, c in fitting
        if n.rpartition(".")[0] == home and len(c) == len(blocks) and 4 * _numel(c) >= _numel(blocks)
    ]
    if len(parts) > 1:
        raise ZobenchError(
            f"{type(model).__name__} has the parts of its decoder blocks in several lists ({', '.join(parts)}); "
            "use a selector that needs no blocks (--selector all)"
        )
    return [Block(i, f"{name}.{i}" if name else str(i), module) for i, module in enumerate(blocks)]


def _beside_the_text(candidates: list[tuple[str, nn.ModuleList]], model: nn.Module) -> list[tuple[str, nn.ModuleList]]:
    """Those with which the text's embedding shares most of its name; all, of a model that is of text alone."""
    config: Any = getattr(model, "config", None)
    if not hasattr(config, "get_text_config") or config.get_text_config() is config:
        return candidates
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    place = next(name for name, module in model.named_modules() if module is embedding).split(".")

    def shared(name: str) -> int:
        parts = name.split(".")
        return next((i for i, (a, b) in enumerate(zip(parts, place, strict=False)) if a != b), len(parts))

    most = max(shared(name) for name, _ in candidates)
    return [c for c in candidates if shared(c[0]) == most]


def _numel(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def lowest_block(blocks: Sequence[Block], parameters: Iterable[nn.Parameter | Tensor]) -> int | None:
    """The lowest block that one of these parameters is of; None where one is of no block, or there are none.

    A parameter that several blocks share is of the lowest of them.
    """
    of: dict[int, int] = {}
    for block in blocks:
        for p in block.module.parameters():
            of.setdefault(id(p), block.index)
    found = [of.get(id(p)) for p in parameters]
    known = [index for index in found if index is not None]
    return min(known) if known and len(known) == len(found) else None


def _outermost_lists(module: nn.Module, name: str) -> Iterator[tuple[str, nn.ModuleList]]:
    """(name, list) of the ModuleLists under `module`, in order, without those inside another one's entries."""
    if isinstance(module, nn.ModuleList):
        if len(module) and all(any(True for _ in entry.parameters()) for entry in module):
            yield name, module
        return
    for child_name, child in module.named_children():
        yield from _outermost_lists(child, f"{name}.{child_name}" if name else child_name)


def _declared_blocks(model: nn.Module) -> int | None:
    """`num_hidden_layers` of the config (all of the usual names map to it), None where there is no config."""
    declared = getattr(text_config(model), "num_hidden_layers", None)
    return declared if isinstance(declared, int) else None
