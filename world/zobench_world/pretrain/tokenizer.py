"""Byte-level BPE trained on the text that the model is trained on, and documents as tokens with a weight each."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

Piece = tuple[str, float]
"""A part of a document, and the weight of its tokens in the loss, from 0 to 1."""

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
BOS_ID, EOS_ID, PAD_ID = range(3)


class DocumentTokens(NamedTuple):
    """A document, or a part of one, as the model sees it."""

    ids: list[int]
    weights: list[float]


def train_tokenizer(texts: Iterable[str], *, vocab: int, bos: bool, context: int) -> Any:
    """A transformers tokenizer (PreTrainedTokenizerFast) of at most `vocab` tokens: the same of the same texts.

    Words come with the space before them. Where a text, a line or a quotation begins with a word, a space is put
    before it, so that a word is the same token everywhere. Every byte is a token, so that no text is unknown. With
    `bos` it puts BOS in front of a text by itself.
    """
    core = Tokenizer(models.BPE())
    core.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(f"{mark}(?=\\w)"), f"{mark} ") for mark in ("\n", '"')]
    )
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        min_frequency=2,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    if bos:
        core.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, BOS_ID)]
        )
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json; the former last, so that where it stands both are whole."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".tokenizer-") as made:
        tokenizer.save_pretrained(made)
        settings = Path(made, "tokenizer_config.json")
        portable = {**json.loads(settings.read_text(encoding="utf-8")), "tokenizer_class": "PreTrainedTokenizerFast"}
        portable.pop("backend", None)  # this, and the class's other name, are known to transformers 5 alone
        settings.write_text(json.dumps(portable, indent=2) + "\n", encoding="utf-8")
        for path in sorted(Path(made).iterdir(), key=lambda path: path.name == "tokenizer.json"):
            os.replace(path, folder / path.name)


def load_tokenizer(folder: Path) -> Any | None:
    """The tokenizer that `save_tokenizer` left in `folder`; None where there is none."""
    if not (folder / "tokenizer.json").is_file():
        return None
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)


class TextEncoder:
    """Text to tokens, without BOS; what looks like a special token in a text is text."""

    def __init__(self, tokenizer: Any) -> None:
        self.core = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self.core.encode_special_tokens = True

    def plain(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, with EOS at the end."""
        return [[*found.ids, EOS_ID] for found in self.core.encode_batch_fast(texts, add_special_tokens=False)]

    def weighted(self, documents: Sequence[Sequence[Piece]]) -> list[DocumentTokens]:
        """The tokens of each document, encoded as one text: where pieces meet, a token may lie in both.

        A token has the weight of the piece that it ends in; EOS has the weight of the last piece.
        Raises ValueError for a weight outside [0, 1].
        """
        out = []
        whole = ["".join(text for text, _ in pieces) for pieces in documents]
        for found, pieces in zip(self.core.encode_batch(whole, add_special_tokens=False), documents, strict=True):
            weights = np.array([weight for _, weight in pieces])
            if not ((weights >= 0) & (weights <= 1)).all():
                raise ValueError(f"weights of pieces must be from 0 to 1, not {weights.tolist()}")
            ends = np.cumsum([len(text) for text, _ in pieces])
            inside = np.searchsorted(ends, [end for _, end in found.offsets])
            out.append(DocumentTokens([*found.ids, EOS_ID], [*weights[inside].tolist(), float(weights[-1])]))
        return out
