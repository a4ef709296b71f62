"""A finished model as the beginning of a longer training: a further cycle need not repeat those before it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from zobench import ZobenchError, load_model

from .checkpoint import TrainingCounts
from .export import FACTS
from .recipe import Recipe

_FREE = {"steps", "cycles", "dtype", "compile", "device"}
"""Settings that a longer training may have otherwise."""
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def extended(finished: Path, out: Path, recipe: Recipe) -> TrainingCounts:
    """Put the tokenizer of a finished model into `out`; returns what was done to its weights.

    Raises ZobenchError for a folder that is none of a finished model, and for a model of other settings.
    """
    try:
        facts = json.loads((finished / FACTS).read_text(encoding="utf-8"))
        for name in _TOKENIZER:
            shutil.copy(finished / name, out / name)
    except (OSError, ValueError) as error:
        raise ZobenchError(f"--extend {finished} is no finished model ({error})") from error
    there, here = facts["settings"], recipe.as_dict()
    other = [name for name in here if name not in _FREE and here[name] != there.get(name)]
    cycles = [step for step in recipe.cycles if step < facts["steps"]]
    if facts["steps"] not in recipe.cycles or there.get("cycles") != cycles or other:
        wrong = ", ".join(f"{name} {there.get(name)} and not {here[name]}" for name in other)
        wrong = wrong or f"{facts['steps']} steps in cycles from {there.get('cycles')} on, and not {recipe.cycles}"
        raise ZobenchError(f"--extend {finished} was trained with {wrong}")
    return TrainingCounts(
        step=facts["steps"], tokens=facts["tokens"], seconds=facts["seconds"], sittings=list(facts["sittings"])
    )


def load_weights(finished: Path, model: Any) -> None:
    """Give `model` the weights of a finished model. Raises ZobenchError where they are not of its shape."""
    parameters = dict(model.named_parameters())
    try:
        weights = dict(load_model(str(finished), device="cpu", offline=True).model.named_parameters())
    except ZobenchError as error:
        raise ZobenchError(f"--extend {finished} cannot be read ({error})") from error
    if {n: t.shape for n, t in weights.items()} != {n: p.shape for n, p in parameters.items()}:
        raise ZobenchError(f"--extend {finished} cannot be read (its weights are of another model)")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
