"""The embedded world: a small model and the data of its tasks, for runs without network, GPU or `--model`.

The model (model.py) is a LLaMA of 1.9 M parameters, trained on the text of a small world (text.py) by `python -m
zobench_world.pretrain`; MODEL_CARD.md beside its weights says how. The data (tasks.py) are of the same world, in
wordings that the text does not have. It comes in as any plugin does: a model, data, a preset, tuned rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from zobench import Preset, hookimpl

MODELS = ("embedded", "embedded_random")
PRESET = Preset(
    {
        "num_train": 512,
        "num_dev": 200,
        "num_test": 400,
        "batch_size": 8,
        "steps": 200,
        "eval_every": 50,
        "max_new_tokens": 4,
        "speed_steps": 10,
        "speed_warmup": 3,
        "exhaustive_sweep.steps": 60,
        "successive_halving.steps": 60,
    },
    models=MODELS,
    about="the embedded model: sizes at which methods differ, and learning rates that dev chose",
)
RATES = Path(__file__).parent / "rates.json"
SCALE: Mapping[str, object] = {"first_outlier.ratio": 25.0, "outlier_channels.ratio": 25.0}
"""So small a model has smaller outliers: max/median of a block is 91 at most (its card), and selectors ask for 100."""


@hookimpl
def zobench_models() -> Mapping[str, str]:
    """`embedded`, and its shape with random weights."""
    return dict(zip(MODELS, (f"{__name__}.model:load", f"{__name__}.model:load_random"), strict=True))


@hookimpl
def zobench_data_sources() -> Mapping[str, str]:
    """The data of the tasks of this world, under the tasks' usual names."""
    return {"embedded": f"{__name__}.data:EmbeddedData"}


@hookimpl
def zobench_presets() -> Mapping[str, Preset]:
    """That of both models."""
    return {"embedded": PRESET}


@hookimpl
def zobench_rates() -> Mapping[str, Path]:
    """Written by `python -m zobench.run.rates --model embedded --steps 200 --out rates.json RESULTS...`."""
    return {"embedded": RATES}


@hookimpl
def zobench_model_settings() -> Mapping[str, Mapping[str, object]]:
    """What selectors need to know of the models' scale."""
    return dict.fromkeys(MODELS, SCALE)


@hookimpl
def zobench_roles() -> Mapping[str, Sequence[str]]:
    """A run that names no model is of this one."""
    return {"usual_model": ["embedded"]}
