"""How many tokens the rows of each task have, measured once: so that speed can be measured without data.

`python -m zobench.bench.lengths --data-dir DIR --model DIR` writes lengths.json from the training items of the tasks in
DIR/<task>/train.jsonl, rendered and encoded as for training, with the tokenizer of a model folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).with_name("lengths.json")
EXAMPLES = 256
"""Of each task, drawn as a run draws its training examples (seed 0)."""


class Lengths(NamedTuple):
    """One example: tokens of its prompt with the beginning of sequence, of each option, and which option is right."""

    prompt: int
    options: tuple[int, ...]
    gold: int


@cache
def _table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def shipped(task: str) -> list[Lengths]:
    """The examples of a task. KeyError for a task that was not measured."""
    return [Lengths(prompt, tuple(options), gold) for prompt, options, gold in _table()["tasks"][task]]


def measured_tasks() -> list[str]:
    """The tasks there are lengths of."""
    return list(_table()["tasks"])


def hub_items(task: str) -> tuple[int, int] | None:
    """Items of the hub's data to train and choose on, and to test on; None for a task without lengths."""
    table = _table()
    found = table["items"].get(task) if task in table["tasks"] else None
    return None if found is None else (found[0], found[1])


def source() -> str:
    """With which tokenizer they were measured, in a line."""
    return str(_table()["source"])


def measure(data: Path, model: Path) -> dict[str, list[Lengths]]:
    """The lengths of all built-in tasks under `data`."""
    from ..models.load import load_tokenizer
    from ..tasks.encode import Encoder
    from ..tasks.sampling import split
    from ..tasks.source import load_pools
    from ..tasks.task import Task, task_files

    tokenizer, context, kind = load_tokenizer(str(model))
    encoder = Encoder(tokenizer, max_length=min(2048, context), model_type=kind)
    out: dict[str, list[Lengths]] = {}
    for name, path in sorted(task_files("zobench_tasks").items()):
        task = Task.load(path)
        pools = load_pools(task, data)
        count = min(EXAMPLES, len(pools.train) - 1)
        drawn = split(pools, num_train=count, num_dev=1, num_test=1, seed=0).train
        encoded = [encoder.encode(task.render(item, i), training=True, check=False) for i, item in enumerate(drawn)]
        out[name] = [
            Lengths(len(e.rows[0].ids) - e.rows[0].option_len, tuple(r.option_len for r in e.rows), e.gold or 0)
            for e in encoded
            if all(0 < r.option_len < len(r.ids) for r in e.rows)
        ]
    return out


def main(argv: Sequence[str]) -> None:
    """Write lengths.json."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m zobench.bench.lengths", description=main.__doc__)
    parser.add_argument("--data-dir", type=Path, required=True, help="holds <task>/train.jsonl")
    parser.add_argument("--model", type=Path, required=True, help="a folder with config.json and a tokenizer")
    parser.add_argument("--source", required=True, help="a line on the tokenizer, for people")
    given = parser.parse_args(argv)
    found = measure(given.data_dir, given.model)
    tasks = {name: [[n.prompt, list(n.options), n.gold] for n in of] for name, of in found.items()}
    lines = [f"  {json.dumps(name)}: {json.dumps(of, separators=(',', ':'))}" for name, of in tasks.items()]
    head = f'{{\n "source": {json.dumps(given.source)},\n "items": {json.dumps(_table()["items"])},\n "tasks": {{\n'
    FILE.write_text(head + ",\n".join(lines) + "\n }\n}\n", encoding="utf-8")
    print(f"{FILE}: {', '.join(f'{name} {len(of)}' for name, of in tasks.items())}")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
