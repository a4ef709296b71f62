"""Names to objects: what the loaded plugins offer, and the observers they bring.

    plugins = load_plugins(["my_zo.py"])
    plugins.estimator("my_zo")          # the class, imported now if it was given as "module:Class"

Light: imports no torch. There is no global registry; the object is passed to those that need it.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .. import redact
from ..errors import ZobenchError, shown, unknown
from . import along, code_digest, expressions
from .discovery import (
    BUILT_IN,
    ONLY_VARIABLE,
    Candidate,
    PluginFault,
    PluginInfo,
    describe_fault,
    entry_points_of,
    from_entry_points,
    from_file,
    limit,
    new_manager,
    register,
)
from .registrations import COLUMNS, KINDS, TABLES, Offer, check_offer, hook_of, import_offer

if TYPE_CHECKING:
    from ..contracts.executor import Executor
    from ..contracts.selector import Selector
    from ..contracts.transform import Transform
    from ..estimator.estimator import Estimator
    from ..estimator.families import Directions
    from ..models.load import LoadedModel
    from ..report.record import Record
    from ..tasks.task import Task

__all__ = ["KINDS", "Offer", "PluginInfo", "Plugins", "load_plugins"]


def _warn(message: str) -> None:
    print(f"zobench: warning: {redact.text(message)}", file=sys.stderr)


def load_plugins(
    files: Sequence[str | Path] = (), *, only: str | None = None, warn: Callable[[str], None] = _warn
) -> Plugins:
    """Load the installed plugins and those in `files`.

    `only` limits the installed ones as ZOBENCH_PLUGINS does (see `discovery.limit`), and None means that variable.
    An installed plugin that cannot be loaded is passed to `warn` as one line and skipped; a file that
    cannot be loaded was asked for by name and raises ZobenchError with the file and the line.
    """
    only = os.environ.get(ONLY_VARIABLE) if only is None else only
    plugins = Plugins(files=files, only=only, warn=warn)
    for candidate in limit(from_entry_points(), only):
        info = plugins.add(candidate)
        if info.error:
            warn(f"{info} could not be loaded: {info.error}")
    for path in {os.path.realpath(os.path.expanduser(f)): f for f in files}.values():
        info = plugins.add(from_file(path))
        if info.error:
            raise ZobenchError(f"plugin file {path} could not be loaded: {info.error}")
    return plugins


class Plugins:
    """What the loaded plugins offer, by kind and name, and typed calls of their observers."""

    def __init__(
        self, *, files: Sequence[str | Path] = (), only: str | None = None, warn: Callable[[str], None] = _warn
    ) -> None:
        self.files = tuple(str(f) for f in files)  # with `only`, what another process needs to load the same plugins
        self.only = only
        self.warn = warn
        self.loaded: list[PluginInfo] = []  # those with an error too
        self._manager = new_manager()
        self._offers: dict[str, dict[str, list[Offer]]] = {kind: {} for kind in (*KINDS, *TABLES, COLUMNS)}
        self._values: dict[tuple[str, str], object] = {}
        self._muted: set[int] = set()
        self._digests: dict[str, tuple[str, str]] = {}

    def add(self, candidate: Candidate) -> PluginInfo:
        """Load one plugin, guarded: what it raises ends as the `error` of the returned info, which `loaded` lists."""
        info, plugin = candidate.info, None
        try:
            plugin = candidate.load()
            info = replace(info, hooks=register(self._manager, plugin, candidate.key))
            offers = [offer for kind in self._offers for offer in self._offers_of(candidate.key, kind, info)]
        except KeyboardInterrupt:
            raise
        except BaseException as e:  # whatever a plugin raises: it breaks nothing else
            if plugin is not None and self._manager.get_plugin(candidate.key) is plugin:
                self._manager.unregister(plugin)
            info = replace(info, error=describe_fault(e))
            offers = []
        for offer in offers:
            self._offers[offer.kind].setdefault(offer.name, []).append(offer)
        self.loaded.append(info)
        return info

    def _offers_of(self, key: str, kind: str, info: PluginInfo) -> Iterable[Offer]:
        hook = hook_of(kind)
        for impl in getattr(self._manager.hook, hook).get_hookimpls():
            if impl.plugin_name == key:
                given = impl.function()
                if not isinstance(given, Mapping):
                    raise PluginFault(f"{hook} returned {shown(given)}, not a mapping of names")
                for name, value in given.items():
                    check_offer(kind, name, value)
                    yield Offer(kind, name, value, info)

    # ---- names

    def names(self, kind: str) -> list[str]:
        """The names of a kind (`estimators`, `selectors`, `tasks`, `models`, ...: `KINDS`), sorted."""
        return sorted(self._offers[kind])

    def offers(self, kind: str, name: str) -> list[Offer]:
        """Who registered `name`: more than one is a clash, which only matters to who uses the name."""
        return list(self._offers[kind].get(name, ()))

    def offer(self, kind: str, name: str) -> Offer:
        """The one registration of `name`. ZobenchError if there is none (with near names) or a clash (naming both)."""
        offers, singular = self.offers(kind, name), KINDS[kind].singular
        if not offers:
            raise ZobenchError(unknown(singular, name, self._offers[kind], see=f"zobench ls {kind}") + self._broken())
        if len(offers) > 1:
            raise ZobenchError(f"{singular} {name!r} is registered by {_both(offers)}: {_CLASH_MEND}")
        return offers[0]

    def _broken(self) -> str:
        """What may explain a missing name: plugins that did not load."""
        broken = [str(info) for info in self.loaded if info.error]
        hint = f"; not loaded: {', '.join(broken)} (see: zobench plugins)" if broken else ""
        if not any(info.dist == BUILT_IN for info in self.loaded):
            hint += "; zobench's own plugins were not found: install it with `pip install -e .`"
        return hint

    # ---- objects

    def estimator(self, name: str) -> type[Estimator]:
        """The estimator of that name, or along directions (`mezo:lozo`, see zobench.plugins.along), imported now if
        need be.

        ZobenchError if unknown, clashing or not importable, or if it takes no directions.
        """
        return cast("type[Estimator]", self.get("estimators", name))

    def directions(self, name: str) -> type[Directions]:
        """The direction family of that name. Errors as `estimator`."""
        return cast("type[Directions]", self.get("directions", name))

    def selector(self, name: str) -> type[Selector]:
        """The selector of that name, or of an expression of names (`expressions.py`). Errors as `estimator`."""
        cls = cast("type[Selector]", self.get("selectors", name))
        expressions.check_whole(name, cls)
        return cls

    def transform(self, name: str) -> type[Transform]:
        """The transform of that name. Errors as `estimator`."""
        return cast("type[Transform]", self.get("transforms", name))

    def executor(self, name: str) -> type[Executor]:
        """The executor of that name. Errors as `estimator`."""
        return cast("type[Executor]", self.get("executors", name))

    def model(self, name: str) -> Callable[..., LoadedModel]:
        """The function that loads the model of that name. Errors as `estimator`."""
        return cast("Callable[..., LoadedModel]", self.get("models", name))

    def task(self, name: str) -> Task:
        """The task of that name, read from its file now if need be. Errors as `estimator`, and those of `Task.load`."""
        value = self.get("tasks", name)
        if isinstance(value, Path):
            from ..tasks.task import Task

            value = self._values["tasks", name] = Task.load(value)
        task = cast("Task", value)
        if task.name != name:
            raise ZobenchError(
                f"task {name!r} of {self.offer('tasks', name).by} calls itself {task.name!r}: use that name"
            )
        return task

    def get(self, kind: str, name: str) -> object:
        """The object that is registered as `name`, imported now if need be; a task's file as its path."""
        if (kind, name) not in self._values and kind == "selectors" and expressions.is_expression(name):
            self._values[kind, name] = expressions.build(
                name, lambda n: cast("type[Selector]", self.get("selectors", n))
            )
        if (kind, name) not in self._values and kind == "estimators" and along.is_expression(name):
            self._values[kind, name] = along.made_of(name, self.estimator, self.directions)
        if (kind, name) not in self._values:
            offer = self.offer(kind, name)
            self._values[kind, name] = import_offer(offer) if isinstance(offer.value, str) else offer.value
        return self._values[kind, name]

    # ---- identity

    def code(self, used: Iterable[tuple[str, str]]) -> dict[str, str]:
        """The digests of the third-party code behind these (kind, name), by plugin, and by task of a task's file.

        A selector may be an expression, and an estimator along directions: their parts are looked at. Empty where all
        are built in.
        """
        out: dict[str, str] = {}
        for kind, name in along.apart(used):
            for one in self._terms(name) if kind == "selectors" else (name,):
                offer = self.offer(kind, one)
                if offer.by.dist == BUILT_IN:
                    continue
                label, found = self._digest(offer.by)
                out[label] = found
                if isinstance(offer.value, Path):
                    out[f"task {one}"] = code_digest.digest([(offer.value.name, offer.value)])
        return out

    def _terms(self, name: str) -> list[str]:
        """The registered selectors that an expression names, those behind a colon too."""
        words = (word.strip() for part in name.split("+") for word in part.split(":"))
        known = self._offers["selectors"]
        return [word for word in words if word in known] if expressions.is_expression(name) else [name]

    def _digest(self, info: PluginInfo) -> tuple[str, str]:
        """A plugin's name in an identity and the digest of its code, which is read once."""
        if info.dist not in self._digests:
            self._digests[info.dist] = self._read(info)
        return self._digests[info.dist]

    def _read(self, info: PluginInfo) -> tuple[str, str]:
        if info.dist in self.files:
            file = Path(info.dist).expanduser().resolve()
            return file.name, code_digest.of_file(file)
        points = entry_points_of(info.dist)
        return info.dist, code_digest.of_distribution(info.dist, points)

    # ---- observers and reporting

    def observe(self, name: str, observer: object) -> None:
        """Add an object whose methods are observers, which are guarded like those of plugins. `name`: for warnings."""
        register(self._manager, observer, name)

    def fire_run_start(self, cells: list[dict[str, Any]]) -> None:
        """Call `zobench_run_start` of every plugin."""
        self._fire("zobench_run_start", cells=cells)

    def fire_step(self, cell: dict[str, Any], step: int, lr: float, loss: float) -> None:
        """Call `zobench_step` of every plugin."""
        self._fire("zobench_step", cell=cell, step=step, lr=lr, loss=loss)

    def fire_eval(self, cell: dict[str, Any], step: int, lr: float, dev_loss: float) -> None:
        """Call `zobench_eval` of every plugin."""
        self._fire("zobench_eval", cell=cell, step=step, lr=lr, dev_loss=dev_loss)

    def fire_run_end(self, records: list[Record]) -> None:
        """Call `zobench_run_end` of every plugin."""
        self._fire("zobench_run_end", records=records)

    def _fire(self, hook: str, **facts: Any) -> None:
        """Call the observers one by one with copies of `facts`; one that raises is reported and not called again."""
        impls = getattr(self._manager.hook, hook).get_hookimpls()
        for impl in reversed(impls):  # pluggy keeps them in the reverse of their calling order
            if id(impl) in self._muted:
                continue
            try:
                impl.function(*(copy.deepcopy(facts[argument]) for argument in impl.argnames))
            except KeyboardInterrupt:
                raise
            except BaseException as e:  # whatever an observer raises: the run goes on
                self._muted.add(id(impl))
                self.warn(f"plugin {impl.plugin_name}: {hook} raised {describe_fault(e)}; it will not be called again")

    def leaderboard_columns(self) -> dict[str, Callable[[list[Record]], str]]:
        """Further columns of the board by heading. ZobenchError if two plugins claim a heading."""
        for heading, offers in self._offers[COLUMNS].items():
            if len(offers) > 1:
                raise ZobenchError(f"leaderboard column {heading!r} is registered by {_both(offers)}: {_CLASH_MEND}")
        found = self._offers[COLUMNS].items()
        return {heading: cast("Callable[[list[Record]], str]", offers[0].value) for heading, offers in found}


_CLASH_MEND = f"rename one, or leave one out ({ONLY_VARIABLE}=-name)"


def _both(offers: Sequence[Offer]) -> str:
    return " and ".join(str(offer.by) for offer in offers)
