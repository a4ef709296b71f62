"""`zobench show model`: what a model is and what it can do, measured on the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..models.load import LoadedModel
    from ..plugins.registry import Plugins

PADDING = {
    "masked": "not seen",
    "positions": "not seen, as places are told",
    "seen": "seen: rows of one length run together, without it",
}


def model_facts(found: Plugins, name: str, offline: bool) -> dict[str, str]:
    """The model by a plugin's name, a folder, a file or the hub, loaded on the CPU, in words.

    Raises ZobenchError where it cannot be loaded.
    """
    from ..run.place import Place, load

    loaded = load(Place(name, device="cpu", offline=offline), found, "float32")
    return described(loaded)


def described(loaded: LoadedModel) -> dict[str, str]:
    """Key -> what there is to say."""
    from ..errors import ZobenchError

    can = loaded.capabilities
    try:
        blocks = str(len(loaded.blocks))
    except ZobenchError:
        blocks = "none found"
    beside = ", ".join(can.unreached)
    return {
        "class": type(loaded.model).__name__,
        "revision": loaded.revision or "none",
        "parameters": f"{loaded.parameters:,}" + (f", without {beside}" if beside else ""),
        "decoder blocks": blocks,
        "context": f"{loaded.context_length} tokens",
        "causal": "yes" if can.causal else "no: it is refused, as it would see the answers",
        "padding": PADDING[can.padding],
        "window": "none" if can.window is None else f"{can.window} tokens",
        "packed rows": _yes(can.packs) + (", the last block at answers alone" if can.last_block else ""),
        "prefix cache": _yes(can.cuts),
        "points together": _yes(can.points),
        "cache": "none: generation passes over the whole row" if can.cache is None else "keys and values",
        "end token": "none appended" if not can.ends else f"{can.ends} appended by the tokenizer, left out of rows",
        "ids beyond": "none" if not can.beyond else f"{can.beyond} special tokens have no row in the embedding",
        "line break": _yes(can.newline) + ("" if can.newline else ": only the end of sequence ends an answer"),
        "noise": f"{can.noise:.1e} of a logit's size in {loaded.dtype}",
    }


def _yes(can: bool) -> str:
    return "yes" if can else "no"
