"""What the weights depend on: shape, optimiser, batches, seed; two presets. Light: imports no torch."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from zobench import ZobenchError, unknown

Dtype = Literal["auto", "float32", "bfloat16"]
SMALLEST_VOCABULARY = 259
"""Every byte and the three special tokens."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings that the weights depend on, but for the text. Two runs of one recipe on one machine are equal."""

    preset: str
    seed: int = 0
    steps: int
    """Updates of the weights."""
    blocks: int
    """Decoder blocks."""
    hidden: int
    """Channels of the stream."""
    heads: int
    kv_heads: int | None = None
    """Heads of keys and values; None: as many as `heads`."""
    intermediate: int
    """Channels inside the MLP."""
    vocab: int
    """The most tokens of the vocabulary; a small text gives fewer."""
    context: int
    """The most tokens of a row that the finished model admits; it is trained on `length`."""
    tie: bool = False
    """One matrix for the embedding and the head."""
    bos: bool = True
    """Rows begin with BOS, and the tokenizer adds it by itself."""
    init_std: float = 0.02
    """Standard deviation of the first weights."""
    embed_std: float = 0.02
    """That of the embedding. Where it is about 1, the stream begins with the tokens themselves."""
    bias_std: float = 0.0
    """That of the biases of queries and keys of the first `bias_blocks` blocks, with which heads begin at distances of
    their own; other biases begin at 0. 0: there are no biases."""
    bias_blocks: int = 2
    mimetic: float = 0.0
    """Keys begin as queries, both times this, and outputs of heads as their values' transpose, so that heads begin by
    finding and copying what is alike (Trockman and Kolter 2023, arXiv 2305.09828). 0: as all other weights."""
    lr: float
    """The highest learning rate: reached after `warmup` steps, kept to `decay_from` of the steps, then falling."""
    warmup: int
    decay_from: float = 0.6
    final_lr: float = 0.02
    """What the learning rate falls to, as a fraction of the highest."""
    cycles: tuple[int, ...] = ()
    """Steps at which the learning rate begins anew (warm restarts, Loshchilov and Hutter 2017, arXiv 1608.03983), each
    the first of a further cycle. (): there is one cycle."""
    weight_decay: float = 0.1
    """Of matrices; norms have none."""
    beta2: float = 0.95
    clip: float = 1.0
    """The most that the norm of a step's gradient may be."""
    batch: int
    """Rows a step."""
    length: int
    """Tokens a row."""
    accumulate: int = 1
    """Parts that a batch goes through the model in; the gradient is that of the whole batch."""
    dtype: Dtype = "auto"
    """Of matrix products; weights are held in float32. auto: bfloat16 on a GPU, float32 on a CPU."""
    compile: bool = False
    """Steps are compiled by torch.compile: other rounding; on a CPU about 1.5 times the speed."""

    def __post_init__(self) -> None:
        least = SMALLEST_VOCABULARY
        for wrong, message in (
            (self.hidden % self.heads, f"--hidden {self.hidden} is no multiple of --heads {self.heads}"),
            (self.hidden // self.heads % 2, f"{self.hidden // self.heads} channels a head: RoPE needs an even number"),
            (self.heads % self.key_heads, f"--heads {self.heads} is no multiple of --kv-heads {self.key_heads}"),
            (self.batch % self.accumulate, f"--batch {self.batch} is no multiple of --accumulate {self.accumulate}"),
            (self.context < self.length, f"--context {self.context} is less than --length {self.length}"),
            (self.vocab < least, f"--vocab {self.vocab}: give at least {least}, for the bytes and the special tokens"),
            (
                list(self.cycles) != sorted({*self.cycles} & {*range(1, self.steps)}),
                f"cycles from steps {self.cycles} on of {self.steps} steps",
            ),
            (not 0 < self.lr < math.inf, f"--lr {self.lr} is no learning rate: give a number above 0"),
            (not 0 < self.init_std < math.inf, f"--init-std {self.init_std}: give a number above 0"),
            (not 0 < self.embed_std < math.inf, f"--embed-std {self.embed_std}: give a number above 0"),
            (
                bool(self.mimetic) and self.key_heads != self.heads,
                "mimetic first weights need as many --kv-heads as --heads",
            ),
            (not 0 <= self.weight_decay < math.inf, f"--weight-decay {self.weight_decay}: give a number from 0 up"),
            (not 0 <= self.beta2 < 1, f"--beta2 {self.beta2}: give a number from 0 to below 1"),
        ):
            if wrong:
                raise ZobenchError(message)

    @property
    def key_heads(self) -> int:
        """The number of heads of keys and values."""
        return self.kv_heads or self.heads

    @property
    def capacity(self) -> int:
        """Tokens of documents that a row holds: all but BOS."""
        return self.length - self.bos

    def _cycle(self, step: int) -> tuple[int, int, int]:
        """The number of the cycle that step `step` is of, from 0; its first step, and the next one's."""
        number = bisect_right(self.cycles, step)
        ends = (0, *self.cycles, self.steps)
        return number, ends[number], ends[number + 1]

    def progress(self, step: int) -> float:
        """How far training is before step `step` (from 0): 0 to 1 in the first cycle, 1 to 2 in the second, ..."""
        number, begin, end = self._cycle(step)
        return number + (step - begin) / (end - begin)

    def learning_rate(self, step: int) -> float:
        """The learning rate of step `step` (from 0): in each cycle linear warm-up, constant, linear to `final_lr`."""
        _, begin, end = self._cycle(step)
        fallen = max(0.0, ((step - begin) / (end - begin) - self.decay_from) / (1 - self.decay_from))
        return self.lr * min(1.0, (step - begin + 1) / max(1, self.warmup)) * (1 - (1 - self.final_lr) * fallen)

    def as_dict(self) -> dict[str, Any]:
        """The settings by name, for JSON."""
        return {**asdict(self), "cycles": list(self.cycles)}


PRESETS = {
    "embedded": Recipe(
        preset="embedded",
        steps=21_000,
        cycles=(15_000, 17_500, 20_000),
        blocks=8,
        hidden=128,
        heads=4,
        intermediate=384,
        vocab=2048,
        context=512,
        tie=True,
        init_std=0.05,
        embed_std=0.1,
        bias_std=1.5,
        bias_blocks=8,
        mimetic=1.0,
        lr=2e-3,
        warmup=100,
        decay_from=0.4,
        batch=16,
        length=128,
    ),
    "reference": Recipe(
        preset="reference",
        steps=10_000,
        blocks=8,
        hidden=512,
        heads=8,
        intermediate=1152,
        vocab=8192,
        context=1024,
        lr=1e-3,
        warmup=500,
        batch=64,
        length=1024,
        accumulate=4,
    ),
}
"""`embedded`: 2 M parameters on text made as it is needed; `reference`: 31 M parameters on a file."""


def recipe_from(preset: str, given: Mapping[str, Any]) -> Recipe:
    """The preset with what was given in its place.

    Where a length but no context is given, the context is at least that length; where steps are given, cycles have the
    same part of them as in the preset. Raises ZobenchError for a preset that is not known and for settings that do not
    go together.
    """
    if preset not in PRESETS:
        raise ZobenchError(unknown("preset", preset, PRESETS))
    base, given = PRESETS[preset], dict(given)
    given.setdefault("context", max(base.context, given.get("length", 0)))
    if "steps" in given:
        parts = {given["steps"] * step // base.steps for step in base.cycles}
        given.setdefault("cycles", tuple(sorted(parts - {0})))
    return replace(base, **given)
