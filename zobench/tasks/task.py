"""A task: a data set turned into prompts with candidate answers (or a free answer) and a metric. Light: no torch.

A task is plain data, usually read from a TOML file; docs of the keys are those of `Task` and `HubSource`.
Prompts, candidates and answers of the built-in tasks are MeZO's (princeton-nlp/MeZO, large_models/templates.py as
described in "Fine-Tuning Language Models with Just Forward Passes", appendix E).
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import ZobenchError, unknown
from .schema import OF_THE_HUB, read_task_file
from .template import Template, template
from .values import Values, declared, read

Kind = Literal["classification", "multiple_choice", "generation"]
TrainLoss = Literal["classification", "option"]
METRICS = ("accuracy", "f1", "em")


@dataclass(frozen=True)
class HubSource:
    """Where a task's data come from.

    `fields`: what every item must have; "answer|label" means one of the two. `values`: what they may hold, where the
    task file says so. `variant`: a data folder's `<split>.<variant>.jsonl` goes before its `<split>.jsonl`. `folder`:
    data that the task brings itself, train.jsonl and validation.jsonl; they go before the hub's and before those of the
    embedded model.
    """

    id: str
    config: str
    revision: str
    train: str
    validation: str
    fields: tuple[str, ...]
    variant: str | None = None
    folder: Path | None = None
    values: tuple[Values, ...] = ()

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
class Example:
    """One rendered item.

    `texts`: prompt with answer, one a candidate (generation: one, with the first accepted answer).
    `correct`: indices of the right candidates, the one that is trained on first (generation: empty).
    `golds`: the right answers as text. `sfc_prompt`, `sfc_texts`: the same without the item's content, for
    surface-form calibration; None where the task has none.
    """

    prompt: str
    texts: tuple[str, ...]
    candidates: tuple[str, ...]
    correct: tuple[int, ...]
    golds: tuple[str, ...]
    data: Mapping[str, Any] = field(repr=False)
    label: str = "an item"
    sfc_prompt: str | None = None
    sfc_texts: tuple[str, ...] | None = None

    @property
    def gold(self) -> int | None:
        """Index of the candidate that is trained on; None for generation."""
        return self.correct[0] if self.correct else None

    @property
    def generation(self) -> bool:
        """Whether the answer is free text."""
        return not self.correct

    @property
    def gold_text(self) -> str:
        """The prompt with the right answer (the first, where several are accepted)."""
        return self.texts[self.correct[0] if self.correct else 0]


@dataclass(frozen=True)
class Task:
    """What a task file holds."""

    name: str
    version: int
    """A new one where prompts or data change: records of different versions never stand in one table."""
    title: str
    kind: Kind
    metric: str
    train_loss: TrainLoss
    num_dev: int
    """Examples held out to choose on, where a run does not say otherwise."""
    source: HubSource
    prompt: str
    """Template of the prompt without its answer."""
    text: str
    """Template of prompt and answer, over the item's fields, `prompt` (as rendered) and `candidate`."""
    answer: str
    """An expression that gives the right candidate's index, its text, or the list of all right texts (generation: the
    list of accepted answers)."""
    candidates: tuple[str, ...] | str | None = None
    """The answers to choose from, as texts or as an expression that lists them; None for generation."""
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
        choices = {"kind": get_args(Kind), "metric": METRICS, "train_loss": get_args(TrainLoss)}
        for key, known in choices.items():
            if getattr(self, key) not in known:
                raise ZobenchError(f"task {self.name}: " + unknown(key, str(getattr(self, key)), known))
        free = self.kind == "generation"
        if free != (self.candidates is None):
            raise ZobenchError(
                f"task {self.name}: template.candidates {'does not fit' if free else 'is missing for'} "
                f"kind {self.kind!r}"
            )
        if free and (self.train_loss != "option" or self.metric == "accuracy" or self.sfc is not None):
            raise ZobenchError(f"task {self.name}: generation needs train_loss 'option', metric f1 or em, and no [sfc]")
        if not free and self.metric != "accuracy":
            raise ZobenchError(f"task {self.name}: metric {self.metric!r} needs kind 'generation'; use 'accuracy'")
        if self.version < 1 or self.num_dev < 0:
            raise ZobenchError(f"task {self.name}: version must be at least 1 and num_dev at least 0")
        if self.cluster and self.cluster not in self.source.names():
            raise ZobenchError(f"task {self.name}: " + unknown("cluster", self.cluster, self.source.names()))
        for key in ("prompt", "text", "answer", *(("candidates",) if isinstance(self.candidates, str) else ())):
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
            answer=texts["answer"],
            candidates=tuple(candidates) if isinstance(candidates, list) else candidates,
            sfc=None if sfc is None else (sfc["prompt"], sfc["text"]),
        )

    def clusters(self, items: Sequence[Mapping[str, Any]]) -> list[int] | None:
        """The cluster of each item, counted as they come; None where the task has none."""
        if not self.cluster:
            return None
        seen: dict[str, int] = {}
        return [seen.setdefault(str(item[self.cluster]), len(seen)) for item in items]

    def render(self, item: Mapping[str, Any], index: int | None = None) -> Example:
        """An item as prompt and answers. `index` only serves to name the item in errors.

        Raises ZobenchError naming task, key and item where a field is missing, a right answer is not among the
        candidates, or a candidate occurs nowhere.
        """
        label = "an item" if index is None else f"item {index}"
        item = self._read(item, label)
        prompt = self._text("prompt", item, label)
        answer = self._template("answer")(item, label)
        if self.kind == "generation":
            golds = self._strings(answer, "answer", label)
            text = self._text("text", {**item, "prompt": prompt, "candidate": golds[0]}, label)
            return Example(prompt, (text,), (), (), golds, item, f"task {self.name}: {label}")
        candidates = self._candidates(item, label)
        correct = self._correct(answer, candidates, label)
        texts = tuple(self._text("text", {**item, "prompt": prompt, "candidate": c}, label) for c in candidates)
        sfc_prompt, sfc_texts = self._render_sfc(item, candidates, label)
        golds = tuple(candidates[c] for c in correct)
        where = f"task {self.name}: {label}"
        return Example(prompt, texts, candidates, correct, golds, item, where, sfc_prompt, sfc_texts)

    def _read(self, item: Mapping[str, Any], label: str) -> Mapping[str, Any]:
        """The item as templates see it: of fields that stand for each other, one that is null is as if not there."""
        try:
            known = self.source.read(item)
        except ZobenchError as e:
            said = str(e)
            raise ZobenchError(f"task {self.name}: {label}{' ' if said.startswith('lacks') else ': '}{said}") from None
        null = [name for name in self.source.names() if name in known and known[name] is None]
        return {name: value for name, value in known.items() if name not in null} if null else known

    def _render_sfc(
        self, item: Mapping[str, Any], candidates: tuple[str, ...], label: str
    ) -> tuple[str | None, tuple[str, ...] | None]:
        if self.sfc is None:
            return None, None
        prompt = self._text("sfc.prompt", item, label)
        values = ({**item, "prompt": prompt, "candidate": c} for c in candidates)
        return prompt, tuple(self._text("sfc.text", v, label) for v in values)

    def options(self, item: Mapping[str, Any]) -> tuple[str, ...]:
        """The candidates that an item is answered with. Raises ZobenchError as `render`."""
        return self._candidates(self._read(item, "an item"), "an item")

    def _candidates(self, item: Mapping[str, Any], label: str) -> tuple[str, ...]:
        if isinstance(self.candidates, tuple):
            return self.candidates
        return self._strings(self._template("candidates")(item, label), "candidates", label)

    def _correct(self, answer: Any, candidates: tuple[str, ...], label: str) -> tuple[int, ...]:
        """Indices of the right candidates: an index as it is, a text by its first place among the candidates."""
        if isinstance(answer, bool) or not isinstance(answer, int | str | list | tuple):
            raise ZobenchError(
                f"task {self.name}: template.answer: {label}: {answer!r} is no index, text or list of texts"
            )
        if isinstance(answer, int):
            if not 0 <= answer < len(candidates):
                raise ZobenchError(
                    f"task {self.name}: {label}: the answer {answer} is none of {len(candidates)} candidates"
                )
            return (answer,)
        found = []
        for text in (answer,) if isinstance(answer, str) else self._strings(answer, "answer", label):
            if text not in candidates:
                raise ZobenchError(f"task {self.name}: {label}: the answer {text!r} is not among the candidates")
            found.append(candidates.index(text))
        return tuple(found)

    def _strings(self, value: Any, key: str, label: str) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not value or not all(isinstance(v, str) for v in value):
            raise ZobenchError(
                f"task {self.name}: template.{key}: {label}: not a list of texts with at least one: {value!r}"
            )
        return tuple(value)

    def _text(self, key: str, values: Mapping[str, Any], label: str) -> str:
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
