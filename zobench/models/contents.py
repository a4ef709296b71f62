"""Whether a model's files are those of the causal language model that its config describes, all of it and no other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ..errors import ZobenchError
from .blocks import decoder_blocks
from .weights import FLOATS, Stored

_BUFFERS = re.compile(r"(inv_freq|masked_bias|position_ids|(attn|attention)\.bias)$")
"""What old checkpoints also hold: made anew by the model, not learnt."""
_OTHER_HEADS = re.compile(r"Classification|QuestionAnswering|MultipleChoice|Reward|Retrieval")
_OF_A_BLOCK = re.compile(r"(?P<block>.*?\b(layers?|h|blocks?)\.\d+)\.(?P<part>.+)")


def check_plain(config: Any, stored: Mapping[str, Stored]) -> None:
    """ZobenchError for a config that says the weights are quantised, whether they are or not."""
    said = getattr(config, "quantization_config", None) or getattr(
        config.get_text_config(), "quantization_config", None
    )
    if said is None:
        return
    method = said.get("quant_method") if isinstance(said, dict) else getattr(said, "quant_method", None)
    odd = [name for name, tensor in stored.items() if tensor.dtype not in FLOATS and not _BUFFERS.search(name)]
    if odd:
        raise ZobenchError(
            f"its weights are quantised ({method}): {len(odd)} tensors, such as {odd[0]} ({stored[odd[0]].dtype}); "
            "floating-point weights only are moved: name a model that has them"
        )
    raise ZobenchError(
        f"its config.json says that its weights are quantised ({method}), but none of its tensors is: remove "
        "quantization_config from config.json if they were made floating-point again"
    )


def check_whole(
    model: Any, found: Mapping[str, Any], stored: Mapping[str, Stored], folder: Path, of: Iterable[str] = ()
) -> tuple[str, ...]:
    """The tensors of the files that the model has no place for, in order.

    found: transformers' `output_loading_info`. of: the classes that config.json says the weights are of. Raises
    ZobenchError where tensors are missing, of another shape, not of floating-point numbers, or of a decoder block,
    which without them computes something else.
    """
    other_shape = [key if isinstance(key, str) else key[0] for key in found["mismatched_keys"]]
    absent = sorted({*found["missing_keys"], *other_shape})
    if absent:
        raise ZobenchError(
            f"the weights in {folder} are not a whole causal language model: "
            f"{len(absent)} tensors are missing or of another shape, such as {absent[0]}"
        )
    unused = sorted(str(name) for name in found["unexpected_keys"] if not _BUFFERS.search(str(name)))
    names = {name for name, _ in model.named_parameters()}
    odd = [name for name, tensor in stored.items() if tensor.dtype not in FLOATS and _is_one_of(name, names, unused)]
    if odd:
        raise ZobenchError(
            f"the weights in {folder} are quantised, or were converted in part: {len(odd)} tensors, such as {odd[0]}, "
            f"are {stored[odd[0]].dtype}; floating-point weights only are moved"
        )
    inside = [name for name in unused if _in_a_block(name, model)]
    if inside:
        raise ZobenchError(
            f"the weights in {folder} have {len(inside)} tensors that {type(model).__name__} has no place for in its "
            f"blocks, such as {inside[0]}: its config.json is of another model, or an adapter was not merged"
        )
    heads = [name for name in of if _OTHER_HEADS.search(name)]
    if heads and unused:
        raise ZobenchError(
            f"the weights in {folder} are of a {heads[0]}, whose head ({unused[0]}) a language model has no place for: "
            "name the model that it was made from"
        )
    left = _blocks_left_out(unused, model)
    if left:
        raise ZobenchError(
            f"the weights in {folder} have {len(left)} decoder blocks that config.json leaves out, such as {left[0]}: "
            "mend its number of layers, or leave their tensors out of the files"
        )
    return tuple(unused)


def check_tied(model: Any, stored: Mapping[str, Stored]) -> None:
    """ZobenchError where config says that the head is the embedding, and the files hold a head of its own.

    Which of the two is taken differs between releases of transformers.
    """
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or not getattr(model.config.get_text_config(), "tie_word_embeddings", False):
        return
    names = {module: f"{name}.weight" for name, module in model.named_modules() if module in (head, embedding)}
    both = [next((k for k in stored if _same(k, names[module])), None) for module in (head, embedding)]
    if head is embedding or None in both or both[0] == both[1]:
        return
    one, other = (_read(name, stored[name].file) for name in both if name is not None)
    if one.shape == other.shape and not torch.equal(one, other):  # of other shapes they cannot be one
        raise ZobenchError(
            f"config.json says that the head is the embedding (tie_word_embeddings), but {both[0]} and {both[1]} "
            "differ in the weights: set it to false, or leave the head out"
        )


def _read(name: str, path: Path) -> torch.Tensor:
    with safe_open(path, framework="pt") as file:
        tensor: torch.Tensor = file.get_tensor(name)
    return tensor


@torch.no_grad()
def check_finite(model: Any, dtype: str) -> None:
    """ZobenchError for weights that are NaN or infinite: so stored, or too large for `dtype`."""
    for name, p in model.named_parameters():
        if not bool(torch.isfinite(p).all()):
            raise ZobenchError(
                f"{name} has values that are NaN or infinite in {dtype}: copy the weights again, or use another --dtype"
            )


def _blocks_left_out(unused: Iterable[str], model: Any) -> list[str]:
    """The blocks of the files that are as the model's own are, and are not among them.

    Others are let be: layers that predict several tokens at once stand behind the last block in some checkpoints.
    """
    parts: dict[str, set[str]] = {}
    for name in unused:
        found = _OF_A_BLOCK.match(name)
        if found:
            parts.setdefault(found["block"], set()).add(found["part"])
    try:
        first = decoder_blocks(model)[0]
    except ZobenchError:  # none are found: the config may have none
        return sorted(parts)
    own = {name for name, _ in first.module.named_parameters()}
    return sorted(block for block, names in parts.items() if own <= names and len(names) == len(own))


def _is_one_of(name: str, names: Iterable[str], unused: Iterable[str]) -> bool:
    """Whether a stored tensor is a weight, by its name: prefixes may differ, and weights be fused when read."""
    if _BUFFERS.search(name):
        return False
    weighs = name.endswith(".weight") or name in unused
    return weighs or any(_same(name, own) for own in names)


def _same(name: str, own: str) -> bool:
    """Whether a name in a file and one in the model are of the same tensor, but for prefixes."""
    return name == own or own.endswith("." + name) or name.endswith("." + own)


def _in_a_block(name: str, model: Any) -> bool:
    """Whether a tensor would be of a decoder block that the model has."""
    try:
        blocks = decoder_blocks(model)
    except ZobenchError:  # none are found
        return False
    places = [block.name.removeprefix(model.base_model_prefix + ".") + "." for block in blocks]
    return any(name.startswith(place) or f".{place}" in name for place in places)
