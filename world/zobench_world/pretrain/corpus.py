"""Plain text from a file: tokenized once into a file of numbers, from which rows are read in a seeded order."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zobench import ZobenchError

from .packing import Rows
from .recipe import Recipe
from .tokenizer import BOS_ID, TextEncoder, train_tokenizer

MARK = b"<|endoftext|>"
"""Stands between documents; in a file without it, blank lines do."""
HELD_OUT = 100
"""One row in so many is held out, at the end of the file."""

_SEEN = 100 * 2**20  # bytes of text that the tokenizer is trained on, taken from all over the file
_AT_ONCE = 1000  # documents encoded together
_READ = 2**20  # characters read together
_LONGEST = 2**24  # characters; a longer document is cut


class CorpusFile:
    """A file of documents in UTF-8."""

    def __init__(self, path: Path) -> None:
        """Raises ZobenchError where there is no such file, or nothing in it."""
        self.path = path
        try:
            with path.open("rb") as file:
                self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                self.bytes = file.tell()
                if not self.bytes:
                    raise ZobenchError(f"--corpus {path}: the file is empty")
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
                    self.marked = whole.find(MARK) >= 0
        except OSError as error:
            raise ZobenchError(f"--corpus {path}: cannot be read: {error.strerror}") from error

    def documents(self) -> Iterator[str]:
        """The documents in order, without white space around them; empty ones are left out.

        Raises ZobenchError for bytes that are no UTF-8.
        """
        between = re.compile(re.escape(MARK.decode()) if self.marked else r"\n\s*\n")
        held = ""
        try:
            with self.path.open(encoding="utf-8") as file:
                while read := file.read(_READ):
                    *whole, held = between.split(held + read)
                    if len(held) > _LONGEST:
                        whole, held = [*whole, held], ""
                    yield from filter(None, map(str.strip, whole))
        except UnicodeDecodeError as error:
            raise ZobenchError(f"--corpus {self.path}: not text in UTF-8: {error.reason}") from error
        if held.strip():
            yield held.strip()

    def tokenizer(self, recipe: Recipe) -> Any:
        """A tokenizer trained on this text: on all of it up to 100 MiB, else on every n-th document."""
        texts = islice(self.documents(), 0, None, -(-self.bytes // _SEEN))
        return train_tokenizer(texts, vocab=recipe.vocab, bos=recipe.bos, context=recipe.context)


class Corpus:
    """Rows of a tokenized file: pieces of equal length of its documents one after the other, in a seeded order."""

    def __init__(self, file: CorpusFile, tokenizer: Any, recipe: Recipe, folder: Path) -> None:
        """Tokenizes into `folder` unless that is done. Raises ZobenchError for a text too short to train on."""
        self.file, self.recipe = file, recipe
        self.tokens = _tokens(file, tokenizer, folder)
        rows = len(self.tokens) // recipe.capacity
        self.held_out = max(1, rows // HELD_OUT)
        self.count = rows - self.held_out
        """Rows that are trained on."""
        if self.count < 1:
            raise ZobenchError(
                f"--corpus {file.path}: {len(self.tokens)} tokens make {rows} rows of --length {recipe.length}, and "
                "two are needed: give more text or shorter rows"
            )

    def rows(self, step: int) -> Rows:
        """The rows of step `step`: all of the text in one order, then all of it in another."""
        first = step * self.recipe.batch
        places = (divmod(first + i, self.count) for i in range(self.recipe.batch))
        return self._rows(_order(self.recipe.seed, epoch, self.count)[place] for epoch, place in places)

    def validation(self, count: int) -> Rows:
        """At most `count` rows of the held-out end of the text, from all over it."""
        step = -(-self.held_out // count)
        return self._rows(range(self.count, self.count + self.held_out, step))

    def digest(self) -> str:
        """What changes when the text does."""
        return self.file.sha256[:16]

    def facts(self) -> dict[str, Any]:
        """What a model card says of the text."""
        return {
            "text": self.file.path.name,
            "bytes": self.file.bytes,
            "sha256": self.file.sha256,
            "tokens": len(self.tokens),
            "epochs": self.recipe.steps * self.recipe.batch / self.count,
        }

    def _rows(self, indices: Iterable[int]) -> Rows:
        capacity, bos = self.recipe.capacity, int(self.recipe.bos)
        ids = np.stack([self.tokens[i * capacity : (i + 1) * capacity] for i in indices]).astype(np.int64)
        ids = np.pad(ids, ((0, 0), (bos, 0)), constant_values=BOS_ID)
        weights = np.ones(ids.shape, np.float32)
        weights[:, :bos] = 0
        return Rows(ids, weights)


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(count)


def _tokens(file: CorpusFile, tokenizer: Any, folder: Path) -> npt.NDArray[Any]:
    """The tokens of the file, memory-mapped: from `folder` if they are there and of this text."""
    binary, about = folder / "tokens.bin", folder / "tokens.json"
    kind = np.dtype("<u2" if len(tokenizer) <= 2**16 else "<u4")
    wanted = {"sha256": file.sha256, "vocab": len(tokenizer)}
    if not about.is_file() or json.loads(about.read_text(encoding="utf-8")) != wanted:
        unfinished = folder / ".tokens.part"
        encoder = TextEncoder(tokenizer)
        with unfinished.open("wb") as out:
            documents = file.documents()
            while together := list(islice(documents, _AT_ONCE)):
                for ids in encoder.plain(together):
                    out.write(np.array(ids, kind).tobytes())
        if not unfinished.stat().st_size:
            raise ZobenchError(f"--corpus {file.path}: there is no text in it")
        os.replace(unfinished, binary)
        about.write_text(json.dumps(wanted) + "\n", encoding="utf-8")
    return np.memmap(binary, kind, "r")
