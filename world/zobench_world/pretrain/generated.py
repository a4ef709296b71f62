"""Text made as it is needed: what step t sees is a function of the seed and t, so that nothing is stored."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from .packing import Rows, pack
from .recipe import Recipe
from .tokenizer import DocumentTokens, Piece, TextEncoder, train_tokenizer

Document = Callable[[Random, float], list[Piece]]
"""document(rng, progress): a document of a text that may change as training goes: see Recipe.progress."""

TOKENIZER_DOCUMENTS = 20_000
_AT_ONCE = 16  # documents encoded together
_END = math.nextafter(1, 0)


def tokenizer_for(document: Document, recipe: Recipe) -> Any:
    """The tokenizer of this text: trained on documents from all of the first cycle, whatever the recipe's seed."""
    rng, n = Random("tokenizer"), TOKENIZER_DOCUMENTS
    texts = ("".join(text for text, _ in document(rng, i / n)) for i in range(n))
    return train_tokenizer(texts, vocab=recipe.vocab, bos=recipe.bos, context=recipe.context)


class Generated:
    """Batches of documents made for them, and held-out ones of the text as it is at the end of the first cycle."""

    def __init__(self, document: Document, tokenizer: Any, recipe: Recipe) -> None:
        self.document, self.encoder, self.recipe = document, TextEncoder(tokenizer), recipe

    def rows(self, step: int) -> Rows:
        """The rows of step `step`."""
        rng = Random(f"{self.recipe.seed}/{step}/text")
        return self._packed(rng, self.recipe.progress(step), self.recipe.batch)

    def validation(self, count: int) -> Rows:
        """`count` held-out rows: the same for every seed of the recipe."""
        return self._packed(Random("validation"), _END, count)

    def digest(self) -> str:
        """What changes when the text of any cycle or the tokenizer does."""
        found = hashlib.sha256()
        for step in (*self.recipe.cycles, self.recipe.steps):
            rows = self._packed(Random("digest"), self.recipe.progress(step - 1), self.recipe.batch)
            found.update(rows.ids.tobytes() + rows.weights.tobytes())
        return found.hexdigest()[:16]

    def facts(self) -> dict[str, Any]:
        """What a model card says of the text."""
        return {"text": f"{self.document.__module__}.{self.document.__qualname__}", "digest": self.digest()}

    def _packed(self, rng: Random, progress: float, rows: int) -> Rows:
        return pack(self._documents(rng, progress), rows, self.recipe.length, bos=self.recipe.bos)

    def _documents(self, rng: Random, progress: float) -> Iterator[DocumentTokens]:
        while True:
            yield from self.encoder.weighted([self.document(rng, progress) for _ in range(_AT_ONCE)])
