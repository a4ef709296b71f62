"""Tuned learning rates: what dev chose in earlier runs under a preset, so that a first run needs no search.

`python -m zobench.run.rates --model NAME --steps N --out FILE RESULTS...` writes the file that a plugin's hook
`zobench_rates` names, from the records of that model and so many steps under these folders: for every estimator,
selector and task the rate with the lowest dev loss of those tried, in the mean over seeds; of the first folder that has
some. Light: imports no torch.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from ..errors import ZobenchError, shown
from ..paths import read
from ..protocol.cell import NUMERICS, raised
from ..settings import resolve

if TYPE_CHECKING:
    from ..plugins.registry import Plugins

Rates: TypeAlias = Mapping[str, Mapping[str, Mapping[str, float]]]
"""estimator -> selector -> task -> learning rate"""


def checked_rates(lrs: Sequence[float]) -> tuple[float, ...]:
    """The learning rates, if they are some. Raises ZobenchError for none, and for one not above 0 or not finite."""
    if not lrs:
        raise ZobenchError("no learning rate is given; write for example --lr 1e-4,1e-3, or leave --lr out")
    if not all(0 < lr < math.inf for lr in lrs):
        raise ZobenchError(f"lr={','.join(map(str, lrs))}: learning rates must be above 0, and finite")
    return tuple(dict.fromkeys(lrs))


@cache
def _rates(file: Path) -> Rates:
    """The rates of a file. ZobenchError for one that is not as this module writes it."""
    try:
        found = json.loads(read(file, "the file of learning rates"))["rates"]
        for selectors in found.values():
            for tasks in selectors.values():
                for rate in tasks.values():
                    if isinstance(rate, bool) or not (isinstance(rate, int | float) and 0 < rate < math.inf):
                        raise ValueError(f"{shown(rate)} is no learning rate")
    except (ValueError, LookupError, TypeError, AttributeError) as e:
        raise ZobenchError(f"{file}: no file of learning rates, as `python -m zobench.run.rates` writes: {e}") from None
    return cast(Rates, found)


def tuned(plugins: Plugins, preset: str, estimator: str, selector: str, task: str) -> tuple[float, ...]:
    """The rate that dev chose for these three under a preset; none where no plugin has one.

    Raises ZobenchError where two plugins have two.
    """
    found: dict[float, str] = {}
    for offer in plugins.offers("rates", preset):
        rate = _rates(cast(Path, offer.value)).get(estimator, {}).get(selector, {}).get(task)
        if rate is not None:
            found.setdefault(rate, str(offer.by))
    if len(found) > 1:
        told = " and ".join(f"{rate:g} by {by}" for rate, by in found.items())
        raise ZobenchError(f"{estimator} / {selector} on {task}: tuned learning rates {told}: say which with --lr")
    return tuple(found)


def collect(folders: Sequence[Path], model: str, steps: int) -> dict[str, Any]:
    """The contents of a file of rates from the records of runs of a model over a grid.

    A rate that failed for one seed is left out, and so is a cell that is not ok, had one rate alone, took another
    number of `steps` (methods that look more than twice a step, at equal forwards), or was chosen by
    probes: those begin at the first of a cell's rates, which must not know of the block that they end at. So is one of
    settings, or of numbers, that are no longer the method's own.
    """
    rates: dict[str, dict[str, dict[str, float]]] = {}
    for folder in folders:
        for (estimator, selector, task), rate in _chosen(folder, model, steps).items():
            rates.setdefault(estimator, {}).setdefault(selector, {}).setdefault(task, rate)
    return {"from": [folder.name for folder in folders], "rates": rates}


def _chosen(results: Path, model: str, steps: int) -> dict[tuple[str, str, str], float]:
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
        whole = all(trial["steps"] == steps for trial in record["trials"] if trial["status"] == "ok")
        told = len(record["trials"]) > 1 and whole and not record["forwards"].get("probe")
        if record["status"] == "ok" and cell["model"] == model and told:
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
    """Write a file of rates."""
    parser = argparse.ArgumentParser("python -m zobench.run.rates", description="Tuned learning rates, from records.")
    parser.add_argument("results", nargs="+", type=Path, help="folders with records; the first that has a rate counts")
    parser.add_argument("--model", required=True, help="the model, as records name it")
    parser.add_argument("--steps", required=True, type=int, help="the steps of the preset")
    parser.add_argument("--out", required=True, type=Path, help="the JSON file to write")
    asked = parser.parse_args(argv)
    made = json.dumps(collect(asked.results, asked.model, asked.steps), indent=1, sort_keys=True)
    asked.out.write_text(made + "\n", encoding="utf-8")
    print(f"wrote {asked.out}")


if __name__ == "__main__":
    main(sys.argv[1:])
