"""From rendered examples to token ids, by MeZO's rules (utils.py, encode_prompt). Imports no torch.

What a tokenizer does of itself is not trusted to be what MeZO's slow tokenizers did:

* a beginning-of-sequence token is looked for in the ids, not in `add_bos_token`, which fast tokenizers lack or
  misreport;
* which rules a model needs is decided by `config.model_type`, where MeZO looked for "opt" and "llama" in the model's
  path: for `opt` every row starts with id 0 (`<s>`), whatever the tokenizer puts there; for `llama` the pad id is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ZobenchError
from ..models.speech import appended
from .example import Example

FIRST_TOKEN = {"opt": 0}
"""By model_type: the id that every row starts with, where it is not the tokenizer's own beginning of sequence."""
PAD_TOKEN = {"llama": 0}
"""By model_type: the id that rows are padded with, where it is not the tokenizer's own. Which one it is matters little:
padding is masked, and no token is left out of a loss for having this id (MeZO drops those with the config's pad id).
"""
SEPARATOR = "\n\n"
"""Between demonstrations, and before what follows them."""


@dataclass(frozen=True)
class Row:
    """One encoded sequence: token ids, and how many of them at the end are the option (0: a bare prompt)."""

    ids: tuple[int, ...]
    option_len: int
    stable: bool = True
    """Whether the ids of the prompt are the first ids of the text. If not, the option may begin a token too early or
    late, as its length is counted in tokens.
    """


@dataclass(frozen=True)
class Encoded:
    """The rows of one example: one a candidate, or one where there are none."""

    rows: tuple[Row, ...]
    gold: int | None
    correct: tuple[int, ...]
    golds: tuple[str, ...]
    label: str


class Encoder:
    """Encodes examples for one tokenizer.

    `max_length`: tokens of a row, the smaller of the protocol's and the model's context; for generation
    `max_new_tokens` of them are kept free. `model_type`: the model's `config.model_type`. `vocabulary`: ids that the
    model knows are below this.
    Raises ZobenchError where nothing would be left for a prompt.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        max_length: int = 2048,
        max_new_tokens: int = 50,
        model_type: str = "",
        vocabulary: int | None = None,
    ) -> None:
        self.tokenizer, self.max_length, self.max_new_tokens = tokenizer, max_length, max_new_tokens
        self.first_token, self.vocabulary = FIRST_TOKEN.get(model_type), vocabulary
        self._ends = list(appended(tokenizer))
        self.bos = tokenizer.bos_token_id if self.first_token is None else self.first_token
        if max_length < 2:
            raise ZobenchError(f"max_length={max_length}: rows of at least 2 tokens are needed")

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text with the model's beginning of sequence, not truncated. An end of sequence that the tokenizer
        would put behind it is left out: rows end with the answer.
        """
        if not texts:
            return []
        out: list[list[int]] = self.tokenizer(list(texts), verbose=False)["input_ids"]
        if n := len(self._ends):
            out = [ids[:-n] if ids[-n:] == self._ends else ids for ids in out]
        if self.first_token is None:
            return out
        own = self.tokenizer.bos_token_id
        return [[self.first_token, *(ids[1:] if ids[:1] in ([own], [self.first_token]) else ids)] for ids in out]

    def encode(
        self,
        example: Example,
        *,
        training: bool = False,
        only_gold: bool = False,
        demonstrations: Sequence[Example] = (),
        sfc: bool = False,
        check: bool = True,
    ) -> Encoded:
        """The rows of an example: one a candidate (with `only_gold`, that of the gold one alone).

        A bare form (generation): the prompt alone (option_len 0), or for `training` the prompt with the answer.
        `demonstrations` come first, each with its right answer. `sfc`: the calibration texts instead of the example's.
        `check`: raise ZobenchError for a row without an option, without anything before it, or cut into its option.
        """
        prompt, texts = self._texts(example, sfc)
        free = example.form.bare
        if only_gold and example.gold is not None:
            texts = (texts[example.gold],)
        unspaced = prompt.strip(" ")
        whole = [t if free else t.strip(" ") for t in texts]
        prompt_ids, *text_ids = self.tokens([unspaced, *whole])
        given = max(len(prompt_ids), int(example.form.headless))
        lengths = [len(ids) - given for ids in text_ids]
        stable = [ids[: len(prompt_ids)] == prompt_ids for ids in text_ids]
        if free and not training:
            whole, lengths, stable, text_ids = [unspaced], [0], [True], [prompt_ids]
        shown = SEPARATOR.join(d.gold_text.strip() for d in demonstrations).strip()
        final = [f"{shown}{SEPARATOR}{t}".lstrip().strip(" ") for t in whole]
        ids = self.tokens(final) if final != whole else text_ids
        rows = tuple(Row(self._cut(i, free), n, s) for i, n, s in zip(ids, lengths, stable, strict=True))
        gold = 0 if only_gold and example.gold is not None else example.gold
        out = Encoded(rows, gold, example.correct, example.golds, example.label)
        if check:
            self._check(out, bare=free and not training, sfc=sfc)
        return out

    def _texts(self, example: Example, sfc: bool) -> tuple[str, tuple[str, ...]]:
        if not sfc:
            return example.prompt, example.texts
        if example.sfc_prompt is None or example.sfc_texts is None:
            raise ZobenchError(f"{example.label}: the task has no [sfc] calibration texts; use scoring=mean")
        return example.sfc_prompt, example.sfc_texts

    def _cut(self, ids: list[int], free: bool) -> tuple[int, ...]:
        """The last tokens that fit; a beginning of sequence stays the first."""
        limit = self.max_length - (self.max_new_tokens if free else 0)
        if limit < 2:
            raise ZobenchError(
                f"max_new_tokens={self.max_new_tokens} leaves no room for a prompt in {self.max_length} tokens; "
                "set it lower"
            )
        if len(ids) <= limit:
            return tuple(ids)
        if ids[0] == self.bos:
            return (ids[0], *ids[len(ids) - limit + 1 :])
        return tuple(ids[len(ids) - limit :])

    def _check(self, encoded: Encoded, *, bare: bool, sfc: bool) -> None:
        """An option must have a token, and something before it: else a window of "the last 0 tokens" would mean all."""
        for number, row in enumerate(encoded.rows):
            where, n = f"{encoded.label}, candidate {number}", len(row.ids)
            if self.vocabulary is not None and n and max(row.ids) >= self.vocabulary:
                raise ZobenchError(
                    f"{where}: the tokenizer gives id {max(row.ids)}, and the model's embedding has {self.vocabulary} "
                    "rows; use the tokenizer that belongs to the model"
                )
            if bare:
                if not n:
                    raise ZobenchError(f"{where}: the prompt has no tokens")
            elif row.option_len < 1:
                raise ZobenchError(
                    f"{where}: the answer adds no token to its prompt under this tokenizer (it merges into the last "
                    "one), so it cannot be scored"
                )
            elif row.option_len >= n:
                if sfc and n < self.max_length:
                    raise ZobenchError(
                        f"{where}: nothing stands before the calibration text, and this tokenizer adds no beginning "
                        "of sequence; use scoring=mean"
                    )
                raise ZobenchError(
                    f"{where}: the answer alone has {row.option_len} tokens and a row has room for {n}: nothing of the "
                    "prompt is left; raise max_length, or use a model with a longer context"
                )
