"""The built-in presets: what `--preset NAME` sets of protocol and run. Selectors say what they take less of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zobench import Preset, hookimpl

SMOKE = Preset(
    {
        "num_train": 32,
        "num_dev": 16,
        "num_test": 16,
        "steps": 8,
        "eval_every": 4,
        "max_new_tokens": 8,
        "speed_steps": 3,
        "speed_warmup": 1,
    },
    about="a few steps: does it run at all",
)
SMALL = Preset(
    {
        "num_train": 200,
        "num_dev": 32,
        "num_test": 100,
        "batch_size": 4,
        "steps": 40,
        "eval_every": 20,
        "max_length": 256,
        "max_new_tokens": 16,
        "speed_steps": 10,
        "speed_warmup": 3,
    },
    about="minutes on a laptop",
)
PAPER = Preset(
    grid="paper",
    first_order={"batch_size": 8, "epochs": 5},  # as MeZO's paper fine-tunes with Adam
    about="MeZO's paper: the defaults of all settings, and each method's own learning rates; with gradients 5 epochs",
)


@hookimpl
def zobench_presets() -> Mapping[str, Preset]:
    """By name."""
    return {"smoke": SMOKE, "small": SMALL, "paper": PAPER}


@hookimpl
def zobench_roles() -> Mapping[str, Sequence[str]]:
    """`small` is that of models that no preset names."""
    return {"usual_preset": ["small"]}
