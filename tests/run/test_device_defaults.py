"""What a run takes on devices other than a CPU where nothing is said; on a CPU all stays what it ever was."""

from __future__ import annotations

import pytest

from zobench.plugins.registry import load_plugins
from zobench.run.device_defaults import for_device
from zobench.run.plan import Wish, route


def computed(kind: str, preset: str, *estimators: str, **settings: str):
    plugins = load_plugins()
    wish = Wish(estimators, ("all",), ("sst2",), preset=preset, settings=settings)
    return for_device(route(wish, plugins), wish, plugins, kind).computation


@pytest.mark.parametrize("preset", ["small", "paper"])
def test_a_cpu_keeps_the_defaults(preset):
    made = computed("cpu", preset, "mezo", "adamw")
    assert (made.noise, made.dtype) == ("per_tensor", "float32")


@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps"])
def test_elsewhere_noise_is_counted_unless_another_is_asked_for(kind):
    assert computed(kind, "small", "mezo").noise == "philox"
    assert computed(kind, "small", "mezo", noise="official").noise == "official"
    assert computed(kind, "small", "mezo", **{"run.noise": "per_tensor"}).noise == "per_tensor"
    assert computed(kind, "small", "mezo").dtype == "float32"


def test_the_paper_s_dtypes():
    assert computed("cuda", "paper", "mezo").dtype == "float16"
    assert computed("cuda", "paper", "adamw", "zero_shot").dtype == "bfloat16"
    assert computed("cuda", "paper", "mezo", "adamw").dtype == "float16"
    assert computed("cuda", "paper", "mezo", dtype="float32").dtype == "float32"
