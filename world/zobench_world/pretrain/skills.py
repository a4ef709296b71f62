"""How often the model answers right in held-out documents, by their kind: what a model card says it can do."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any, NamedTuple

import torch

from .. import text
from ..wordings import KNOWN
from .generated import Document
from .packing import pack
from .tokenizer import TextEncoder


class Skill(NamedTuple):
    """`right` of `asked` first tokens of answers had the highest probability."""

    right: int
    asked: int


@torch.no_grad()
def skills(
    model: Any,
    tokenizer: Any,
    kinds: Mapping[Document, Any] = text.KINDS,
    *,
    progress: float = 1.0,
    documents: int = 100,
    length: int = 160,
) -> dict[str, Skill]:
    """The skill in every kind of document that has answers, each kind in documents as at this progress.

    Documents are held out: no training draws by these seeds. A row holds one document; a longer one is cut.
    """
    encoder, out = TextEncoder(tokenizer), {}
    for kind in kinds:
        rng, name = Random(f"skill {kind.__name__}"), kind.__name__
        found = encoder.weighted([kind(rng, progress) for _ in range(documents)])
        asked = right = 0
        for document in found:
            rows = pack([document], 1, length, bos=True)
            known = rows.weights[0] >= KNOWN
            first = known[1:] & ~known[:-1]
            if first.any():
                said = model(input_ids=torch.from_numpy(rows.ids)).logits[0, :-1].argmax(-1).numpy()
                asked, right = asked + int(first.sum()), right + int((said == rows.ids[0, 1:])[first].sum())
        if asked:
            out[name] = Skill(right, asked)
    return out
