"""A record in one line, for the console of a run."""

from __future__ import annotations

from . import stats, text, units
from .record import NO_SELECTOR, Record


def summarise(record: Record) -> str:
    """`sst2 mezo/all seed 0: accuracy 91.2 ± 1.9 (zero-shot 58.0), lr 1e-06 at step 4000, 12.3 ms a step, 2.41x`.

    ± as on a board: half of the 95 % interval, here over the test items of one seed.
    """
    cell = record["cell"]
    method = cell["estimator"] if cell["selector"] == NO_SELECTOR else f"{cell['estimator']}/{cell['selector']}"
    head = f"{cell['task']} {method} seed {cell['seed']}"
    if record["status"] != "ok":
        return text.printable(f"{head}: {record['status']}: {record['error'] or 'no message'}")
    test, before = record["metrics"]["test"], record["metrics"]["zero_shot"]
    effect = stats.of_values({0: test["value"]}, test["stderr"], test["n"])
    error = "" if effect is None else f" ± {units.shown(test['metric'], effect.half())}"
    parts = [f"{test['metric']} {units.shown(test['metric'], test['value'])}{error}"]
    if record.get("stands") != "untouched":
        parts[0] += f" (zero-shot {units.shown(before['metric'], before['value'])})"
    chosen = record.get("chosen")
    if chosen is not None:
        parts.append(f"lr {chosen['lr']:g} at step {chosen['step']}{_by_dev(record)}")
    if record["time"].get("step_s"):
        parts.append(f"{text.milliseconds(record['time']['step_s'])} ms a step")
    if "speed" in record:
        parts.append(text.ratio(record["speed"]["ratio"]))
    return text.printable(f"{head}: {', '.join(parts)}")


def _by_dev(record: Record) -> str:
    """What dev said of the checkpoint that it chose, and of how many learning rates: ` (dev 88.0, best of 3 rates)`."""
    dev = record["metrics"].get("dev")
    if dev is None:
        return ""
    tried = len(record["trials"])
    of = f", best of {tried} rates" if tried > 1 else ""
    return f" (dev {units.shown(dev['metric'], dev['value'])}{of})"
