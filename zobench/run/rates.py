"""Learning rates for the embedded model: what dev chose in committed runs, so that a first run needs no search.

`python -m zobench.run.rates RESULTS...` writes rates.json from the records under these folders: for every estimator,
selector and task the rate with the lowest dev loss of those tried, in the mean over seeds; of the first folder that has
some. Light: imports no torch.
"""

from __future__ import annotations

import importlib.resources
import json
import math
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from ..protocol.cell import NUMERICS, raised
from ..protocol.protocol import PRESETS
from ..settings import resolve

STEPS = int(PRESETS["embedded"]["steps"])
FILE = Path(str(importlib.resources.files("zobench_world"))) / "rates.json"


@cache
def _table() -> dict[str, dict[str, dict[str, float]]]:
    if not FILE.is_file():
        return {}
    found: dict[str, dict[str, dict[str, float]]] = json.loads(FILE.read_text(encoding="utf-8"))["rates"]
    return found


def tuned(estimator: str, selector: str, task: str) -> tuple[float, ...]:
    """The rate that dev chose for these three; none where no committed run tried them."""
    rate = _table().get(estimator, {}).get(selector, {}).get(task)
    return () if rate is None else (rate,)


def collect(folders: Sequence[Path]) -> dict[str, Any]:
    """The contents of rates.json from the records of runs of the embedded model over a grid.

    A rate that failed for one seed is left out, and so is a cell that is not ok, had one rate alone, took another
    number of steps than the preset (methods that look more than twice a step, at equal forwards), or was chosen by
    probes: those begin at the first of a cell's rates, which must not know of the block that they end at. So is one of
    settings, or of numbers, that are no longer the method's own.
    """
    rates: dict[str, dict[str, dict[str, float]]] = {}
    for folder in folders:
        for (estimator, selector, task), rate in _chosen(folder).items():
            rates.setdefault(estimator, {}).setdefault(selector, {}).setdefault(task, rate)
    return {"from": [folder.name for folder in folders], "rates": rates}


def _chosen(results: Path) -> dict[tuple[str, str, str], float]:
    """The rate of each estimator, selector and task in one folder."""
    from ..report import store

    records, problems = store.read(results)
    if problems:
        raise SystemExit(f"{results}: {problems[0]}")
    seen: dict[tuple[str, str, str], dict[float, list[float]]] = {}
    for record in records:
        cell = record["cell"]
        if not _of_today(cell):
            continue
        whole = all(trial["steps"] == STEPS for trial in record["trials"] if trial["status"] == "ok")
        told = len(record["trials"]) > 1 and whole and not record["forwards"].get("probe")
        if record["status"] == "ok" and cell["model"] == "embedded" and told:
            at = seen.setdefault((cell["estimator"], cell["selector"], cell["task"]), {})
            for trial in record["trials"]:
                loss = math.inf if trial["dev_loss"] is None else trial["dev_loss"]
                at.setdefault(trial["lr"], []).append(loss)
    out = {}
    for names, losses in sorted(seen.items()):
        mean, best = min((fmean(of), lr) for lr, of in losses.items())
        if mean < math.inf:
            out[names] = best
    return out


def _of_today(cell: Mapping[str, Any]) -> bool:
    """Whether a cell is what its estimator's name means at its defaults today."""
    known = _methods()
    cls = known.estimator(cell["estimator"])
    now = resolve(cls, {})
    then: Mapping[str, Any] = cell.get("estimator_settings", {})
    same = all(
        name in now and now[name] in ("", value, _tupled(value)) for name, value in then.items()
    )  # "": no default
    return same and cell.get("numerics", 1) >= NUMERICS + raised(cls, now)


@cache
def _methods() -> Any:
    from ..plugins.registry import load_plugins

    return load_plugins(only="")


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def main(argv: Sequence[str]) -> None:
    """Write rates.json."""
    if not argv:
        raise SystemExit("usage: python -m zobench.run.rates RESULTS...")
    made = json.dumps(collect([Path(folder) for folder in argv]), indent=1, sort_keys=True)
    FILE.write_text(made + "\n", encoding="utf-8")
    print(f"wrote {FILE}")


if __name__ == "__main__":
    main(sys.argv[1:])
