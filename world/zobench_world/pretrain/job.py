"""One pre-training from an empty folder to a finished model; called again, it goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from zobench import ZobenchError, unknown

from .corpus import Corpus, CorpusFile
from .export import FACTS, machine, write_facts, write_model
from .extend import extended, load_weights
from .generated import Document, Generated, tokenizer_for
from .loop import KeepingPace, TextSource, Training, TrainingWatcher
from .model import build
from .recipe import Recipe
from .tokenizer import load_tokenizer, save_tokenizer

_SETTINGS = "recipe.json"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be trained, where, and on what."""

    out: Path
    recipe: Recipe
    text: Document | Path
    """What makes documents, or a file of them."""
    device: str = "auto"
    threads: int | None = None
    """Threads of a CPU; None leaves them as they are."""
    pace: KeepingPace = field(default_factory=KeepingPace)
    extend: Path | None = None
    """A finished model whose last step is the end of one of the recipe's cycles: training begins there, with its
    weights (in float16) and its tokenizer, and an optimiser that is new."""


def pretrain(job: Job, watcher: TrainingWatcher, say: Callable[[str], None]) -> None:
    """Train `job` to its end, from its newest checkpoint if it has one; does nothing where it is finished.

    `say` takes lines on what is being done. Raises ZobenchError for what the user can mend, KeyboardInterrupt after an
    interrupt (with a checkpoint left behind).
    """
    device = _device(job.device)
    dtype = job.recipe.dtype
    if dtype == "auto":
        dtype = "bfloat16" if device.type == "cuda" else "float32"
    text = CorpusFile(job.text) if isinstance(job.text, Path) else job.text
    _claim(job, {**job.recipe.as_dict(), "dtype": dtype, "device": device.type})
    if (job.out / FACTS).is_file():
        say(f"{job.out} is finished: {FACTS} says how it went")
        return
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    begun = None if job.extend is None else extended(job.extend, job.out, job.recipe)
    source, tokenizer = _source(job, text, say)
    model = build(job.recipe, len(tokenizer)).to(device)
    if job.extend is not None:
        load_weights(job.extend, model)
    training = Training(job.out, job.recipe, dtype, source, model, tokenizer, begun)
    count = sum(p.numel() for p in model.parameters())
    say(f"{count / 1e6:.2f} M parameters, {len(tokenizer)} tokens, {device}, {dtype}, step {training.counts.step}")
    training.run(job.pace, watcher, {**machine(device), "dtype": dtype})
    write_model(model, job.out)
    write_facts(job.out, _facts(job, dtype, count, len(tokenizer), source, training))
    say(f"finished: zobench run --model {job.out}")


def _device(asked: str) -> torch.device:
    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    if asked.partition(":")[0] not in ("cpu", "cuda"):
        raise ZobenchError(unknown("device", asked, ("auto", "cpu", "cuda", "cuda:1")))
    try:
        return torch.empty(0, device=asked).device
    except (RuntimeError, AssertionError) as error:
        raise ZobenchError(f"--device {asked}: {str(error).splitlines()[0]}") from error


def _claim(job: Job, settings: dict[str, Any]) -> None:
    """Make the folder this job's own; ZobenchError where it is another's."""
    path = job.out / _SETTINGS
    try:
        job.out.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            there = json.loads(path.read_text(encoding="utf-8"))
            other = sorted(key for key in settings.keys() | there.keys() if settings.get(key) != there.get(key))
            if other:
                told = ", ".join(f"{key} {there.get(key)} and not {settings.get(key)}" for key in other)
                raise ZobenchError(f"--out {job.out} was begun with {told}: give the same settings, or a new folder")
            return
        if any(job.out.iterdir()):
            raise ZobenchError(f"--out {job.out} has files that are not of a pre-training: give a new folder")
        path.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ZobenchError(f"--out {job.out} cannot be used: {error}") from error


def _source(job: Job, text: Document | CorpusFile, say: Callable[[str], None]) -> tuple[TextSource, Any]:
    """The source of text and its tokenizer, which is trained unless it is there."""
    tokenizer = load_tokenizer(job.out)
    if tokenizer is None:
        say("training the tokenizer")
        made = text.tokenizer(job.recipe) if isinstance(text, CorpusFile) else tokenizer_for(text, job.recipe)
        save_tokenizer(made, job.out)
        tokenizer = load_tokenizer(job.out)
    if isinstance(text, CorpusFile):
        return Corpus(text, tokenizer, job.recipe, job.out), tokenizer
    return Generated(text, tokenizer, job.recipe), tokenizer


def _facts(job: Job, dtype: str, count: int, vocab: int, source: TextSource, training: Training) -> dict[str, Any]:
    line, counts = training.last_line(), training.counts
    return {
        "parameters": count,
        "vocabulary": vocab,
        "settings": {**job.recipe.as_dict(), "dtype": dtype},
        "text": source.facts(),
        "steps": counts.step,
        "tokens": counts.tokens,
        "seconds": round(counts.seconds, 1),
        "sittings": counts.sittings,
        "losses": {key: line[key] for key in ("train_loss", "validation_loss")},
        "activations": line["blocks"],
    }
