"""A classification task from a table of one's own: CSV, TSV, JSON lines or Parquet with texts and labels. Light."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import paths
from ..errors import ZobenchError, library, unknown
from . import rows

HELD_OUT = 0.2
"""The part of every label's items that is test."""

MOST_DEV = 100
MOST_LABELS = 50
"""Different labels that a column of labels has: one with more is another column."""


@dataclass(frozen=True)
class OwnTask:
    """A task file and its items, made from a table."""

    name: str
    toml: str
    train: str
    """JSON lines."""
    validation: str
    made: str
    """JSON: file, SHA-256, columns, labels, and the seed of the split."""
    said: tuple[str, ...]
    """What its maker should know: rows left out, and how many there are of each label."""


def own_task(
    file: Path,
    text: Sequence[str],
    label: str,
    *,
    name: str | None = None,
    prompt: str | None = None,
    words: Mapping[str, str] | None = None,
    seed: int = 0,
) -> OwnTask:
    """The task of a table: `text` columns make the prompt, values of `label` are the candidates.

    Test is a fifth of every label's items, drawn by `seed`; dev is drawn from the others by the protocol. `prompt` is a
    template (`{review}` or Jinja's `{{ review }}`) instead of the columns and the label's name; `words` says labels in
    other words. Rows without a text or a label are left out, and counted.
    Raises ZobenchError for a file of another kind, a column that is not there, one label or more than MOST_LABELS.
    """
    content, table = _read(file)
    fields = _fields(file, table, (*text, label))
    items, left_out = _items(table, text, label, fields)
    counts = Counter(item[fields[label]] for item in items)
    if not 2 <= len(counts) <= MOST_LABELS:
        raise ZobenchError(
            f"{file}: column {label} has {len(counts)} different values; labels are 2 to {MOST_LABELS}: is it another "
            "column?"
        )
    named = name or _field(file.stem).lower().strip("_") or "own"
    labels = sorted(counts)
    said = [f"{len(items)} items: " + ", ".join(f"{counts[one]} {one}" for one in labels)]
    said += [f"{left_out} rows without a text or a label are left out"] if left_out else []
    if all(one.lstrip("-").replace(".", "", 1).isdigit() for one in labels) and not words:
        said.append("the labels are numbers: words say more to a model, for example --words 0=bad,1=good")
    train, test = _split(items, fields[label], seed)
    facts = {
        "file": file.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "text": list(text),
        "label": label,
        "split": {"by": label, "seed": seed, "test": HELD_OUT},
    }
    template = _template(text, label, fields, prompt, [_word(one, words, file) for one in labels])
    return OwnTask(
        name=named,
        toml=_toml(named, file.name, fields, label, template, num_dev=_num_dev(len(train), len(labels))),
        train=_lines(train, fields[label], labels),
        validation=_lines(test, fields[label], labels),
        made=json.dumps(facts, indent=1, sort_keys=True) + "\n",
        said=tuple(said),
    )


def _fields(file: Path, table: Sequence[Mapping[str, Any]], named: Sequence[str]) -> dict[str, str]:
    """By column the name of its field in a task file. ZobenchError for one that is not there, or two of one name."""
    columns = list(dict.fromkeys(key for row in table for key in row))
    for column in named:
        if column not in columns:
            raise ZobenchError(f"{file}: " + unknown("column", column, columns))
    fields = {column: _field(column) for column in named}
    if len(set(fields.values())) < len(fields):
        raise ZobenchError(f"{file}: --text and --label name columns that cannot be told apart as names: rename one")
    return fields


def _num_dev(train: int, labels: int) -> int:
    return max(labels, min(MOST_DEV, train // 4))


def _read(file: Path) -> tuple[bytes, list[dict[str, Any]]]:
    content = paths.read(file, "--data")
    ending = file.suffix.lower()
    if ending in (".csv", ".tsv"):
        return content, _csv(file, content, "\t" if ending == ".tsv" else ",")
    if ending in (".jsonl", ".ndjson"):
        return content, [dict(item) for item in rows.read(file, lambda item: item)[0]]
    if ending == ".parquet":
        datasets = library("datasets", "a Parquet file", instead="give a CSV")
        try:
            table = datasets.Dataset.from_parquet(str(file), keep_in_memory=True)
        except Exception as e:  # of several libraries
            raise ZobenchError(f"--data {file}: cannot be read as Parquet: {str(e).splitlines()[0]}") from None
        return content, [dict(row) for row in table]
    raise ZobenchError(f"--data {file}: give a .csv, .tsv, .jsonl or .parquet file")


def _csv(file: Path, content: bytes, delimiter: str) -> list[dict[str, Any]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise ZobenchError(f"--data {file}: not UTF-8 text ({e.reason} at byte {e.start}); save it as UTF-8") from None
    csv.field_size_limit(rows.LONGEST)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        table = [{k: v for k, v in row.items() if k is not None} for row in reader]
    except csv.Error as e:
        raise ZobenchError(f"--data {file}: line {reader.line_num}: {e}") from None
    if not table:
        raise ZobenchError(f"--data {file}: holds no rows under its heading")
    return table


def _items(
    table: Sequence[Mapping[str, Any]], text: Sequence[str], label: str, fields: Mapping[str, str]
) -> tuple[list[dict[str, str]], int]:
    out = []
    for row in table:
        values = {fields[column]: _text(row.get(column)) for column in (*text, label)}
        if all(values.values()):
            out.append(values)
    return out, len(table) - len(out)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column of whole numbers with gaps
    return str(value).strip()


def _split(items: Sequence[dict[str, str]], label: str, seed: int) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """(train and dev, test): of every label a fifth is test, one item at least where there are two."""
    by_label: dict[str, list[int]] = defaultdict(list)
    for at, item in enumerate(items):
        by_label[item[label]].append(at)
    test: set[int] = set()
    for one in sorted(by_label):
        places = by_label[one]
        n = min(len(places) - 1, max(1, round(HELD_OUT * len(places))))
        test.update(random.Random(f"{seed} {one}").sample(places, n))
    if not test:
        raise ZobenchError("no label has two items: there is nothing to train and test on")
    return [x for i, x in enumerate(items) if i not in test], [x for i, x in enumerate(items) if i in test]


def _lines(items: Sequence[Mapping[str, str]], label: str, labels: Sequence[str]) -> str:
    """JSON lines; a label as its place among all, which is the right candidate's."""
    places = {one: at for at, one in enumerate(labels)}
    return "".join(json.dumps({**item, label: places[item[label]]}, ensure_ascii=False) + "\n" for item in items)


def _field(column: str) -> str:
    """A column's name as templates can say it."""
    name = re.sub(r"\W+", "_", column, flags=re.ASCII).strip("_") or "column"
    return f"_{name}" if name[0].isdigit() else name


def _word(label: str, words: Mapping[str, str] | None, file: Path) -> str:
    if words and label not in words:
        raise ZobenchError(f"--words has none for the label {label!r} of {file}: write {label}=..., too")
    return (words or {}).get(label, label.replace("_", " "))


def _template(
    text: Sequence[str], label: str, fields: Mapping[str, str], prompt: str | None, words: Sequence[str]
) -> dict[str, Any]:
    if prompt is None:
        said = [_said(column, fields[column], alone=len(text) == 1) for column in text]
        prompt = "\n".join([*said, f"{_heading(label)}:"])
    else:
        prompt = re.sub(r"(?<!\{)\{(\w+)\}(?!\})", r"{{ \1 }}", prompt.replace("\\n", "\n"))
    return {"prompt": prompt, "candidates": list(words)}


def _said(column: str, field: str, *, alone: bool) -> str:
    return f"{{{{ {field}.strip() }}}}" if alone else f"{_heading(column)}: {{{{ {field}.strip() }}}}"


def _heading(column: str) -> str:
    words = column.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def _toml(
    name: str,
    file: str,
    fields: Mapping[str, str],
    label: str,
    template: Mapping[str, Any],
    *,
    num_dev: int,
) -> str:
    """The task file. Its version follows from its content: other prompts or labels never share a row."""
    body = f"""title = {_quoted(f"{name}: items of {file}")}
kind = "classification"
metric = "accuracy"
train_loss = "classification"
num_dev = {num_dev}

[source]
folder = {_quoted(name)}
fields = {_quoted(list(fields.values()))}

[source.values]
{fields[label]} = {list(range(len(template["candidates"])))}

[template]
prompt = {_quoted(template["prompt"])}
candidates = {_quoted(template["candidates"])}
text = "{{{{ prompt }}}} {{{{ candidate }}}}"
answer = {_quoted(fields[label])}
"""
    version = 1 + int(hashlib.sha256(body.encode()).hexdigest()[:6], 16)
    return f"name = {_quoted(name)}\nversion = {version}\n{body}"


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
