"""`zobench show`: all that is known of one estimator, selector, task, model, executor, or what else has a name."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..plugins import along, declared, expressions, transforms
from ..plugins.presets import Preset
from ..plugins.registry import KINDS, Plugins
from ..settings import settings_of
from ..tasks.source import HUB
from ..tasks.task import Task
from . import card
from .common import Offline, PluginFiles, Singular, plugins_of, print_table
from .described import described
from .read_source import setting_notes

if TYPE_CHECKING:
    from ..tasks.encode import Encoder


def show(
    kind: Annotated[Singular, typer.Argument(help="What it is.")],
    name: Annotated[str, typer.Argument(help="Its name, as `zobench ls` has it.")],
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="For a task: render an example for this model.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="For a task: take the example from this folder.")
    ] = None,
    offline: Offline = False,
    plugin: PluginFiles = None,
) -> None:
    """Show one estimator, selector, task, model, executor, preset or data source.

    Of an estimator or selector: its card (source, reference, public code, verified or not; forwards, state and
    learning rates), what it does, where its defaults come from and how it departs from the public code, and its
    settings with type, range and default. Of a task:
    its data source with the pinned revision, prompt, candidates, metric and version; with --model also an example
    as the model sees it, with token ids, options and lengths. Of a model, by a plugin's name, a folder or a hub id:
    what it can do, measured on it: what padding does to a row, whether rows may be packed, and more.
    """
    plural = next(k for k, rules in KINDS.items() if rules.singular == kind.value)
    if plural == "tasks":
        return _show_task(plugins_of(plugin), name, model, data_dir, offline)
    if model is not None or data_dir is not None:
        raise typer.BadParameter("--model and --data-dir are for `zobench show task`")
    if plural == "models":
        return _show_model(plugins_of(plugin), name, offline)
    told = described(plugin, lambda found: _told(found, plural, name))
    print_facts(told.facts)
    if told.doc:
        print(f"\n{told.doc}")
    if told.settings is not None:
        _print_settings(told.settings)


@dataclass(frozen=True)
class Told:
    """What is shown of what has a name."""

    facts: dict[str, str]
    doc: str = ""
    settings: list[tuple[str, ...]] | None = None
    """Rows of their table; None: it is of a kind that has none."""


def _told(found: Plugins, plural: str, name: str) -> Told:
    value = found.get(plural, name)
    if isinstance(value, Preset):
        return Told(_facts(found, plural, name) | _preset_facts(found, name, value))
    facts, settings = _facts(found, plural, name) | _class_facts(value), None
    if isinstance(value, type) and KINDS[plural].settings:
        said = f"--set transform={transforms.form(name, value)}" if plural == "transforms" else ""
        settings = _settings(value, "directions" if plural == "directions" else name, said)
    return Told(facts, inspect.getdoc(value) or "", settings)


def _preset_facts(found: Plugins, name: str, preset: Preset) -> dict[str, str]:
    """What it sets, of selectors too, and for whom it stands."""
    classes: dict[str, Any] = {selector: found.get("selectors", selector) for selector in found.names("selectors")}
    of_selectors = {f"{s}.{key}": v for s, cls in classes.items() for key, v in cls.presets.get(name, {}).items()}
    facts = {
        "about": preset.about,
        "models": ", ".join(preset.models),
        "learning rates": f"an estimator's {'lr_grid' if preset.grid == 'paper' else 'small_lrs'}",
        "settings": "\n".join(f"{key}={_text(value)}" for key, value in {**of_selectors, **preset.settings}.items()),
        "with gradients": "\n".join(f"{key}={_text(value)}" for key, value in preset.first_order.items()),
    }
    return {key: value for key, value in facts.items() if value}


def _show_model(found: Plugins, name: str, offline: bool) -> None:
    from .show_model import model_facts

    own = name in found.names("models")
    facts = _facts(found, "models", name) | _class_facts(found.get("models", name)) if own else {"model": name}
    print_facts(facts | model_facts(found, name, offline))
    doc = inspect.getdoc(found.get("models", name)) if own else None
    if doc:
        print(f"\n{doc}")


def print_facts(facts: dict[str, str]) -> None:
    """Print `key  value` lines with the values in one column; further lines of a value under its first."""
    width = max(map(len, facts)) + 2
    for key, value in facts.items():
        first, *more = value.splitlines() or [""]
        print(f"{key:<{width}}{first}".rstrip())
        for line in more:
            print((" " * width + line).rstrip())


def _facts(found: Plugins, plural: str, name: str) -> dict[str, str]:
    parts = [(plural, one) for one in (expressions.names(name) if plural == "selectors" else (name,))]
    by = dict.fromkeys(str(found.offer(kind, n).by) for kind, n in along.apart(parts))
    return {KINDS[plural].singular: name, "from": "\n".join(by)}


def _class_facts(value: object) -> dict[str, str]:
    """Where a class or function is written, and what a class says of itself."""
    source = {}
    if inspect.isclass(value) or inspect.isroutine(value):
        source["source"] = inspect.getsourcefile(value) or "?"
    return source | card.facts(value) if inspect.isclass(value) else source


def _settings(cls: type, name: str, said: str = "") -> list[tuple[str, ...]]:
    """A row of each; `said`: how all of them are given together."""
    notes = _notes(cls)
    return [
        (
            s.name,
            s.describe_type(),
            _text(s.default),
            said or f"--set {_address(s.name, name)}=...",
            notes.get(s.name, ""),
        )
        for s in settings_of(cls).values()
    ]


def _print_settings(rows: list[tuple[str, ...]]) -> None:
    """A table of them, with what they mean where that is said of one."""
    if not rows:
        return print("\nno settings")
    print()
    headings = ("SETTING", "TYPE", "DEFAULT", "CHANGE WITH", *(("MEANING",) if any(row[-1] for row in rows) else ()))
    print_table(headings, [row[: len(headings)] for row in rows])


def _notes(cls: type) -> dict[str, str]:
    """What stands under the settings of a class, those of a selector's parts under the names they have there."""
    if not issubclass(cls, expressions.Composite):
        return setting_notes(cls)
    own = {name: note for name, note in setting_notes(cls).items() if name in expressions.own_settings(cls)}
    return own | {f"{part.label}.{name}": note for part in cls.of for name, note in _notes(part.cls).items()}


def _address(setting: str, name: str) -> str:
    """A setting as `--set` takes it; a part's setting has the part in front already."""
    return setting if "." in setting else f"{name}.{setting}"


def _text(default: Any) -> str:
    """A default as it would be given to --set."""
    if isinstance(default, tuple | list):
        return ",".join(map(_text, default))
    if default is None or isinstance(default, bool):
        return str(default).lower()
    return str(default)


def _show_task(found: Plugins, name: str, model: str | None, data_dir: Path | None, offline: bool) -> None:
    task = found.task(name)
    print_facts(_facts(found, "tasks", name) | _task_facts(task) | _source_facts(found, name))
    if model is None and data_dir is None:
        return print("\n--data-dir DIR shows an example of it, --model MODEL what the model sees")
    from ..tasks.render import render_task
    from ..tasks.source import load_pools

    encoder, where = (None, HUB) if model is None else _encoder(found, model, offline)
    pools = load_pools(task, declared.where(found, data_dir or where), offline=offline)
    print()
    print(render_task(task, [pools.train[0]], encoder).rstrip())


def _source_facts(found: Plugins, name: str) -> dict[str, str]:
    """Of the data that plugins have for this task."""
    sources = [declared.data_source(found, source) for source in found.names("data_sources")]
    mine = [(source.name, source.describe(name)) for source in sources if name in source.tasks()]
    return {f"{source} {key}": said for source, facts in mine for key, said in facts.items()}


def _encoder(found: Plugins, model: str, offline: bool) -> tuple[Encoder, str | Path]:
    """As a run would encode for this model with the default rules, and where the model has data from.

    Weights are read only for a plugin's model.
    """
    from ..tasks.encode import Encoder
    from ..tasks.rules import Rules

    where: str | Path = HUB
    if model in found.names("models"):
        from ..run.place import Place, load

        loaded = load(Place(model, device="cpu"), found, "float32")
        tokenizer, context, where = loaded.tokenizer, loaded.context_length, loaded.data
        model_type = str(getattr(loaded.model.config, "model_type", ""))
    else:
        from ..models.load import load_tokenizer

        tokenizer, context, model_type = load_tokenizer(model, offline=offline, pinned=declared.revision(found, model))
    rules = Rules()
    length = min(rules.max_length, context)
    encoder = Encoder(tokenizer, max_length=length, max_new_tokens=rules.max_new_tokens, model_type=model_type)
    return encoder, where


def _task_facts(task: Task) -> dict[str, str]:
    """The task's file in words; templates are shown quoted, because their blanks matter."""
    source = task.source
    candidates = task.candidates
    facts = {
        "title": task.title,
        "version": str(task.version),
        "kind": task.kind,
        "metric": task.metric,
        "training loss": task.train_loss,
        "dev items": str(task.num_dev),
        "data": f"its own, in {source.folder}" if source.folder else f"{source.id} / {source.config}",
        "revision": source.revision,
        "splits": "" if source.folder else f"train: {source.train}, validation: {source.validation}",
        "fields": ", ".join(source.fields),
        "prompt": repr(task.prompt),
        "candidates": "free answer" if candidates is None else _candidates(candidates),
        "with answer": repr(task.text),
        "answer": task.answer,
        "licence": task.licence,
        "citation": task.citation.strip(),
        "notes": task.notes.strip(),
    }
    return {key: value for key, value in facts.items() if value}


def _candidates(candidates: tuple[str, ...] | str) -> str:
    return candidates if isinstance(candidates, str) else ", ".join(map(repr, candidates))
