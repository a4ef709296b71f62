"""The rule of the first outlier block, with the bar that the model's own settings give it. Light."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .registry import Plugins


def bar(found: Plugins, model: str) -> dict[str, float]:
    """The rule that selecting the outlier block goes by, and its bar for this model, where that is its own."""
    from ..settings import settings_of
    from . import declared

    for name in declared.role(found, "outlier_block"):
        cls = found.selector(name)
        asked = declared.model_settings(found, model).get(f"{name}.ratio")
        if asked is not None and {"rule", "ratio"} <= set(settings_of(cls)):
            return {str(cls().settings["rule"]): float(cls(ratio=asked).settings["ratio"])}
    return {}
