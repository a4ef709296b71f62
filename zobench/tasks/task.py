"""A task: a data set turned into prompts with candidate answers (or a free answer) and a metric. Light: no torch.

A task is plain data, usually read from a TOML file; docs of the keys are those of `Task` and `HubSource`.
Prompts, candidates and answers of the built-in tasks are MeZO's (princeton-nlp/MeZO, large_models/templates.py as
described in "Fine-Tuning Language Models with Just Forward Passes", appendix E).
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import ZobenchError, unknown
from .example import Example
from .kinds import KINDS, METRICS
from .rules import Rules
from .schema import OF_THE_HUB, read_task_file
from .template import Template, template
from .values import Values, declared, read

TrainLoss = Literal["classification", "option"]


@dataclass(frozen=True)
class HubSource:
    """Where a task's data come from."""

    id: str
    config: str
    revision: str
    train: str
    validation: str
    fields: tuple[str, ...]
    """What every item must have; "answer|label" means one of the two."""
    variant: str | None = None
    """A data folder's `<split>.<variant>.jsonl` goes before its `<split>.jsonl`."""
    folder: Path | None = None
    """Data that the task brings itself, train.jsonl and validation.jsonl: they go before any other source's."""
    values: tuple[Values, ...] = ()
    """What the fields may hold, where the task file says so."""

    def names(self) -> frozenset[str]:
        """All field names that templates may use."""
        return frozenset(name for entry in self.fields for name in entry.split("|"))

    def missing(self, item: Mapping[str, Any]) -> list[str]:
        """The entries of `fields` that `item` does not have, or has as null."""
        return [entry for entry in self.fields if all(item.get(name) is None for name in entry.split("|"))]

    def read(self, item: Mapping[str, Any]) -> Mapping[str, Any]:
        """The item with its fields as templates know them. Raises ZobenchError, which does not name the item."""
        absent = self.missing(item)
        if absent:
            raise ZobenchError(f"lacks {', '.join(absent)}; it has {', '.join(sorted(map(str, item)))}")
        entries = tuple(tuple(entry.split("|")) for entry in self.fields if "|" in entry)
        return read(self.values, entries, item)


@dataclass(frozen=True)
class Task:
    """What a task file holds."""

    name: str
    version: int
    """A new one where prompts or data change: records of different versions never stand in one table."""
    title: str
    kind: str
    """A name of zobench.tasks.kinds."""
    metric: str
    train_loss: TrainLoss
    num_dev: int
    """Examples held out to choose on, where a run does not say otherwise."""
    source: HubSource
    prompt: str
    """Template of the prompt without its answer."""
    text: str
    """Template of prompt and answer, over the item's fields, `prompt` (as rendered) and `candidate`."""
    answer: str | None = None
    """An expression that gives the right candidate's index, its text, or the list of all right texts (generation: the
    list of accepted answers)."""
    candidates: tuple[str, ...] | str | None = None
    """The answers to choose from, as texts or as an expression that lists them; None where the kind has none."""
    sfc: tuple[str, str] | None = None
    """(prompt, text) of surface-form calibration (Holtzman et al. 2021)."""
    cluster: str = ""
    """The field of which items that have it alike are no independent draws, such as a passage with several questions:
    error bars go by it."""
    licence: str = ""
    citation: str = ""
    notes: str = ""

    def __post_init__(self) -> None:
        """Check the values against each other and compile the templates. Raises ZobenchError."""
        choices = {"kind": tuple(KINDS), "metric": METRICS, "train_loss": get_args(TrainLoss)}
        for key, known in choices.items():
            if getattr(self, key) not in known:
                raise ZobenchError(f"task {self.name}: " + unknown(key, str(getattr(self, key)), known))
        KINDS[self.kind].check(self)
        if self.metric not in KINDS[self.kind].metrics:
            needed = " or ".join(repr(name) for name, kind in KINDS.items() if self.metric in kind.metrics)
            own = " or ".join(map(repr, KINDS[self.kind].metrics))
            raise ZobenchError(f"task {self.name}: metric {self.metric!r} needs kind {needed}; use {own}")
        if self.version < 1 or self.num_dev < 0:
            raise ZobenchError(f"task {self.name}: version must be at least 1 and num_dev at least 0")
        if self.cluster and self.cluster not in self.source.names():
            raise ZobenchError(f"task {self.name}: " + unknown("cluster", self.cluster, self.source.names()))
        for key in ("prompt", "text", "answer", "candidates"):
            if isinstance(getattr(self, key), str):
                self._template(key)
        if self.sfc is not None:
            self._template("sfc.prompt"), self._template("sfc.text")

    @classmethod
    def load(cls, path: str | Path) -> Task:
        """The task in a TOML file. Raises ZobenchError for anything that is wrong with the file, naming the key."""
        values = read_task_file(Path(path))
        place = values.pop("source")
        names = frozenset(name for entry in place["fields"] for name in entry.split("|"))
        place["values"] = declared(place.get("values", {}), names, str(path))
        of_hub = dict.fromkeys(OF_THE_HUB, "") | {key: value for key, value in place.items() if key != "folder"}
        folder = Path(path).parent / place["folder"] if "folder" in place else None  # beside the task file
        source = HubSource(**{**of_hub, "fields": tuple(place["fields"]), "folder": folder})
        texts, sfc = values.pop("template"), values.pop("sfc", None)
        candidates = texts.get("candidates")
        return cls(
            **values,
            source=source,
            prompt=texts["prompt"],
            text=texts["text"],
            answer=texts.get("answer"),
            candidates=tuple(candidates) if isinstance(candidates, list) else candidates,
            sfc=None if sfc is None else (sfc["prompt"], sfc["text"]),
        )

    def clusters(self, items: Sequence[Mapping[str, Any]]) -> list[int] | None:
        """The cluster of each item, counted as they come; None where the task has none."""
        if not self.cluster:
            return None
        seen: dict[str, int] = {}
        return [seen.setdefault(str(item[self.cluster]), len(seen)) for item in items]

    def check_rules(self, rules: Rules) -> None:
        """ZobenchError for rules that do not fit the task's kind."""
        KINDS[self.kind].check_rules(rules, self)

    def kept_free(self, rules: Rules) -> int:
        """Tokens of a row that are kept free for an answer."""
        return KINDS[self.kind].kept_free(rules)

    def render(self, item: Mapping[str, Any], index: int | None = None) -> Example:
        """An item as prompt and answers. `index` only serves to name the item in errors.

        Raises ZobenchError naming task, key and item where a field is missing, a right answer is not among the
        candidates, or a candidate occurs nowhere.
        """
        label = "an item" if index is None else f"item {index}"
        return KINDS[self.kind].render(self, self._read(item, label), label)

    def _read(self, item: Mapping[str, Any], label: str) -> Mapping[str, Any]:
        """The item as templates see it: of fields that stand for each other, one that is null is as if not there."""
        try:
            known = self.source.read(item)
        except ZobenchError as e:
            said = str(e)
            raise ZobenchError(f"task {self.name}: {label}{' ' if said.startswith('lacks') else ': '}{said}") from None
        null = [name for name in self.source.names() if name in known and known[name] is None]
        return {name: value for name, value in known.items() if name not in null} if null else known

    def options(self, item: Mapping[str, Any]) -> tuple[str, ...]:
        """The candidates that an item is answered with. Raises ZobenchError as `render`."""
        return self.candidates_of(self._read(item, "an item"), "an item")

    # ---- for kinds: the templates, filled with an item that is read; `label` names it in errors

    def candidates_of(self, item: Mapping[str, Any], label: str) -> tuple[str, ...]:
        """The candidates of an item. Raises ZobenchError where the expression gives no list of texts."""
        if isinstance(self.candidates, tuple):
            return self.candidates
        return self.strings(self.value("candidates", item, label), "candidates", label)

    def strings(self, value: Any, key: str, label: str) -> tuple[str, ...]:
        """What the expression `key` gave, where it is a list of texts with at least one; else raises ZobenchError."""
        if not isinstance(value, list | tuple) or not value or not all(isinstance(v, str) for v in value):
            raise ZobenchError(
                f"task {self.name}: template.{key}: {label}: not a list of texts with at least one: {value!r}"
            )
        return tuple(value)

    def value(self, key: str, values: Mapping[str, Any], label: str) -> Any:
        """The value of the expression `key` (answer, candidates)."""
        return self._template(key)(values, label)

    def fill(self, key: str, values: Mapping[str, Any], label: str) -> str:
        """The text of the template `key` (prompt, text, sfc.prompt, sfc.text)."""
        return str(self._template(key)(values, label))

    def _template(self, key: str) -> Template:
        source: Any = {
            "prompt": self.prompt,
            "text": self.text,
            "answer": self.answer,
            "candidates": self.candidates,
            "sfc.prompt": self.sfc and self.sfc[0],
            "sfc.text": self.sfc and self.sfc[1],
        }[key]
        names = _names(self.source, key.endswith("text"))
        where = f"task {self.name}: {key if key.startswith('sfc') else 'template.' + key}"
        return template(source, where, names, key in ("answer", "candidates"))


@functools.cache
def _names(source: HubSource, with_candidate: bool) -> frozenset[str]:
    return source.names() | ({"prompt", "candidate"} if with_candidate else frozenset())


def task_files(package: str) -> dict[str, Path]:
    """The task files (`*.toml`) of an installed package by name: what a plugin's `zobench_tasks` hook returns."""
    folder = importlib.resources.files(package)
    paths = (Path(str(entry)) for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return {path.stem: path for path in sorted(paths)}
