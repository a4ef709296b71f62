"""Learning rates for the embedded model: what dev chose in committed runs, so that a first run needs no search.

`python -m zobench.run.rates RESULTS` writes rates.json from the records under RESULTS: for every estimator,
selector and task the rate with the lowest dev loss of those tried, in the mean over seeds. Light: imports no torch.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

FILE = Path(__file__).parents[1] / "models" / "embedded" / "rates.json"


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


def collect(results: Path) -> dict[str, Any]:
    """The contents of rates.json from the records of runs of the embedded model over a grid.

    A rate that failed for one seed is left out, and so is a cell that is not ok or had one rate alone.
    """
    from ..report import store

    records, problems = store.read(results)
    if problems:
        raise SystemExit(f"{results}: {problems[0]}")
    seen: dict[tuple[str, str, str], dict[float, list[float]]] = {}
    for record in records:
        cell = record["cell"]
        if record["status"] == "ok" and cell["model"] == "embedded" and len(record["trials"]) > 1:
            at = seen.setdefault((cell["estimator"], cell["selector"], cell["task"]), {})
            for trial in record["trials"]:
                loss = math.inf if trial["dev_loss"] is None else trial["dev_loss"]
                at.setdefault(trial["lr"], []).append(loss)
    rates: dict[str, dict[str, dict[str, float]]] = {}
    for (estimator, selector, task), losses in sorted(seen.items()):
        mean, best = min(((fmean(of), lr) for lr, of in losses.items()), default=(math.inf, 0.0))
        if mean < math.inf:
            rates.setdefault(estimator, {}).setdefault(selector, {})[task] = best
    return {"from": results.name, "rates": rates}


def main(argv: Sequence[str]) -> None:
    """Write rates.json."""
    if len(argv) != 1:
        raise SystemExit("usage: python -m zobench.run.rates RESULTS")
    made = json.dumps(collect(Path(argv[0])), indent=1, sort_keys=True)
    FILE.write_text(made + "\n", encoding="utf-8")
    print(f"wrote {FILE}")


if __name__ == "__main__":
    main(sys.argv[1:])
