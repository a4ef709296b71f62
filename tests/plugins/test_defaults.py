"""What a plain run of a built-in method is: the defaults of its settings, its learning rates, the presets' sizes.

`python tests/plugins/test_defaults.py` writes the file anew, after a method was added or a default was meant to change.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

from zobench.plugins.registry import load_plugins
from zobench.settings import settings_of

PLUGINS = load_plugins()
KINDS = ("estimators", "directions", "selectors", "transforms", "executors")
GOLDEN = Path(__file__).parents[1] / "golden" / "defaults.json"


def defaults():
    """By kind and name the defaults of settings; beside them an estimator's rates, and what presets set."""
    made = {
        kind: {
            name: {key: said.default for key, said in settings_of(cls).items()}
            for name in PLUGINS.names(kind)
            if inspect.isclass(cls := PLUGINS.get(kind, name))
        }
        for kind in KINDS
    }
    estimators = {name: PLUGINS.estimator(name) for name in PLUGINS.names("estimators")}
    made["rates"] = {name: {"paper": cls.lr_grid, "small": cls.small_lrs} for name, cls in estimators.items()}
    made["presets"] = {name: vars(PLUGINS.get("presets", name)) for name in PLUGINS.names("presets")}
    return json.loads(json.dumps(made, default=lambda one: getattr(one, "value", None) or str(one)))


def test_a_plain_run_is_what_it_was():
    """A default that changes makes other numbers, and other records, of the same command: CHANGELOG says so."""
    golden, found = json.loads(GOLDEN.read_text(encoding="utf-8")), defaults()
    assert {kind: sorted(of) for kind, of in found.items()} == {kind: sorted(of) for kind, of in golden.items()}
    changed = [
        f"{kind}: {name}: {key} is {of[key]}, not {golden[kind][name].get(key)}"
        for kind, every in found.items()
        for name, of in every.items()
        for key in of
        if of[key] != golden[kind][name].get(key)
    ]
    assert not changed and found == golden, "\n".join(changed)


NUMBER = r"(-?\d+(?:\.\d+)?(?:e-?\d+)?)(?!\w)"


def test_defaults_are_those_that_the_cards_say():
    """Where a card says `eps 1e-3` among its defaults, that is the default of eps."""
    wrong, held = [], 0
    for kind in ("estimators", "selectors"):
        for name in PLUGINS.names(kind):
            cls = PLUGINS.get(kind, name)
            said = re.search(r"(?s)\bDefaults?:(.*?)(?:\n\n|\Z)", inspect.getdoc(cls) or "")
            text = " ".join(said[1].split()) if said else ""
            for key, setting in settings_of(cls).items() if inspect.isclass(cls) else ():
                found = re.findall(rf"(?<![\w.=]){key} {NUMBER}", text)
                if found and isinstance(setting.default, int | float):
                    held += 1
                    wrong += [f"{name}: {key} is {setting.default}"] if setting.default not in map(float, found) else []
    assert not wrong and held > 90


if __name__ == "__main__":
    lines = {
        kind: ",\n".join(f"  {json.dumps(name)}: {json.dumps(of[name], sort_keys=True)}" for name in sorted(of))
        for kind, of in sorted(defaults().items())
    }
    every = ",\n".join(f' "{kind}": {{\n{of}\n }}' for kind, of in lines.items())
    GOLDEN.write_text(f"{{\n{every}\n}}\n", encoding="utf-8")
