"""The model of the embedded world, and the same shape with random weights."""

from __future__ import annotations

from pathlib import Path

from zobench import LoadedModel, ZobenchError, load_model

WEIGHTS = Path(__file__).parent / "weights"
"""The folder with the model: weights, config, tokenizer, card."""


def load(*, dtype: str = "float32", device: str = "auto") -> LoadedModel:
    """The model, ready for forward passes; it needs no network.

    Raises ZobenchError as `load_model` does, and where the package came without the weights.
    """
    if not (WEIGHTS / "model.safetensors").is_file():
        raise ZobenchError(f"no weights in {WEIGHTS}: install zobench again, or pass --model and --data-dir")
    loaded = load_model(str(WEIGHTS), dtype=dtype, device=device, offline=True)
    loaded.name, loaded.data = "embedded", "embedded"  # the tasks of the world that it was trained on
    return loaded


def load_random(*, dtype: str = "float32", device: str = "auto") -> LoadedModel:
    """The same shape and tokenizer with the random weights that training began with: the control that shows what
    training is for. Raises ZobenchError as `load` does.
    """
    from .pretrain.model import build
    from .pretrain.recipe import PRESETS

    loaded = load(dtype=dtype, device=device)
    begun = build(PRESETS["embedded"], loaded.model.config.vocab_size)
    loaded.model.load_state_dict(begun.state_dict())
    loaded.name, loaded.revision = "embedded_random", None
    return loaded
