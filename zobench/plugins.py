"""Names to objects: what the loaded plugins offer, and the observers they bring.

    plugins = load_plugins(["my_zo.py"])
    plugins.estimator("my_zo")          # the class, imported now if it was given as "module:Class"

Light: imports no torch. There is no global registry; the object is passed to those that need it.
"""

from __future__ import annotations

import copy
import functools
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .discovery import (
    BUILT_IN,
    ONLY_VARIABLE,
    Candidate,
    PluginFault,
    PluginInfo,
    describe_fault,
    from_entry_points,
    from_file,
    limit,
    new_manager,
    register,
)
from .errors import ZobenchError, unknown

if TYPE_CHECKING:
    from .models.load import LoadedModel
    from .report.record import Record
    from .run.executor import Executor
    from .selector import Selector
    from .tasks.task import Task
    from .zo.estimator import Estimator

__all__ = ["KINDS", "Offer", "PluginInfo", "Plugins", "load_plugins"]


@dataclass(frozen=True)
class Kind:
    """A kind of thing that plugins register: its hook is `zobench_<plural>`."""

    singular: str
    base: tuple[str, str] | None  # module and name of the class that a registered class must have as a base
    wants: str  # what a value may be, in words
    marks: str = "_-"  # what a name may contain beside letters and digits

    @property
    def pattern(self) -> str:
        return rf"[A-Za-z0-9_][A-Za-z0-9{re.escape(self.marks)}]*"


KINDS: Mapping[str, Kind] = {
    "estimators": Kind("estimator", ("zobench.zo.estimator", "Estimator"), "a subclass of zobench.Estimator"),
    "selectors": Kind("selector", ("zobench.selector", "Selector"), "a subclass of zobench.Selector"),
    "tasks": Kind("task", ("zobench.tasks.task", "Task"), "a pathlib.Path of a TOML file or a zobench.Task"),
    "models": Kind("model", None, "a function that loads a model", "_-."),
    "executors": Kind("executor", None, "a class with a method `run`"),
}
_COLUMNS = "zobench_leaderboard_columns"


@dataclass(frozen=True)
class Offer:
    """One registered name: its value as the plugin gave it, and the plugin."""

    kind: str
    name: str
    value: object
    by: PluginInfo


def _warn(message: str) -> None:
    print(f"zobench: warning: {message}", file=sys.stderr)


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
    for path in {Path(f).expanduser().resolve(): f for f in files}.values():
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
        self._offers: dict[str, dict[str, list[Offer]]] = {kind: {} for kind in (*KINDS, _COLUMNS)}
        self._values: dict[tuple[str, str], object] = {}
        self._muted: set[int] = set()

    def add(self, candidate: Candidate) -> PluginInfo:
        """Load one plugin, guarded: what it raises ends as the `error` of the returned info, which `loaded` lists."""
        info, plugin = candidate.info, None
        try:
            plugin = candidate.load()
            info = replace(info, hooks=register(self._manager, plugin, candidate.key))
            offers = [offer for kind in self._offers for offer in self._offers_of(candidate.key, kind, info)]
        except (Exception, SystemExit) as e:
            if plugin is not None and self._manager.get_plugin(candidate.key) is plugin:
                self._manager.unregister(plugin)
            info = replace(info, error=describe_fault(e))
            offers = []
        for offer in offers:
            self._offers[offer.kind].setdefault(offer.name, []).append(offer)
        self.loaded.append(info)
        return info

    def _offers_of(self, key: str, kind: str, info: PluginInfo) -> Iterable[Offer]:
        hook = _hook_of(kind)
        for impl in getattr(self._manager.hook, hook).get_hookimpls():
            if impl.plugin_name == key:
                given = impl.function()
                if not isinstance(given, Mapping):
                    raise PluginFault(f"{hook} returned {given!r:.80}, not a mapping of names")
                for name, value in given.items():
                    _check_offer(kind, name, value)
                    yield Offer(kind, name, value, info)

    # ---- names

    def names(self, kind: str) -> list[str]:
        """The names of a kind (`estimators`, `selectors`, `tasks`, `models`, `executors`), sorted."""
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
        """The estimator of that name, imported now if need be. ZobenchError if unknown, clashing or not importable."""
        return cast("type[Estimator]", self.get("estimators", name))

    def selector(self, name: str) -> type[Selector]:
        """The selector of that name. Errors as `estimator`."""
        return cast("type[Selector]", self.get("selectors", name))

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
            from .tasks.task import Task

            value = self._values["tasks", name] = Task.load(value)
        return cast("Task", value)

    def get(self, kind: str, name: str) -> object:
        """The object that is registered as `name`, imported now if need be; a task's file as its path."""
        if (kind, name) not in self._values:
            offer = self.offer(kind, name)
            self._values[kind, name] = import_offer(offer) if isinstance(offer.value, str) else offer.value
        return self._values[kind, name]

    # ---- observers and reporting

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
            except (Exception, SystemExit) as e:
                self._muted.add(id(impl))
                self.warn(f"plugin {impl.plugin_name}: {hook} raised {describe_fault(e)}; it will not be called again")

    def leaderboard_columns(self) -> dict[str, Callable[[list[Record]], str]]:
        """Further columns of the board by heading. ZobenchError if two plugins claim a heading."""
        for heading, offers in self._offers[_COLUMNS].items():
            if len(offers) > 1:
                raise ZobenchError(f"leaderboard column {heading!r} is registered by {_both(offers)}: {_CLASH_MEND}")
        found = self._offers[_COLUMNS].items()
        return {heading: cast("Callable[[list[Record]], str]", offers[0].value) for heading, offers in found}


_CLASH_MEND = f"rename one, or leave one out ({ONLY_VARIABLE}=-name)"


def _both(offers: Sequence[Offer]) -> str:
    return " and ".join(str(offer.by) for offer in offers)


def _hook_of(kind: str) -> str:
    return kind if kind == _COLUMNS else f"zobench_{kind}"


def _check_offer(kind: str, name: object, value: object) -> None:
    """PluginFault unless `name` and `value` are what the hook may return. Imports nothing."""
    hook = _hook_of(kind)
    if kind == _COLUMNS:
        if not isinstance(name, str) or not callable(value):
            raise PluginFault(f"{hook}: {name!r}: {value!r:.80} is not a heading and a function")
        return
    rules = KINDS[kind]
    if not isinstance(name, str) or not re.fullmatch(rules.pattern, name):
        raise PluginFault(f"{hook}: {name!r} is no name: use letters, digits and {' '.join(rules.marks)}")
    if isinstance(value, str):
        if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", value):
            raise PluginFault(f"{hook}: {name}: {value!r} does not read 'module:Name'")
    elif not _fits(kind, value):
        raise PluginFault(f"{hook}: {name}: {value!r:.80} is not {rules.wants}, nor 'module:Name'")


def _fits(kind: str, value: object) -> bool:
    """Whether a value that exists is of the kind. A base whose module is not imported yet has no subclasses."""
    base = KINDS[kind].base
    home = getattr(sys.modules.get(base[0]), base[1], ()) if base else ()
    if kind == "tasks":
        return isinstance(value, Path) or isinstance(value, home)
    if kind == "models":
        return callable(value)
    if kind == "executors":
        return isinstance(value, type) and callable(getattr(value, "run", None))
    return isinstance(value, type) and issubclass(value, home) and value is not home


def import_offer(offer: Offer) -> object:
    """Import what 'module:Name' names. ZobenchError if that fails, or if it is not of the offer's kind."""
    singular, text = KINDS[offer.kind].singular, cast(str, offer.value)
    module, _, path = text.partition(":")
    where = f"{singular} {offer.name!r} of {offer.by}: {text!r}"
    try:
        value = functools.reduce(getattr, path.split("."), importlib.import_module(module))
    except (Exception, SystemExit) as e:
        raise ZobenchError(f"{where} cannot be imported: {describe_fault(e)}") from e
    if not _fits(offer.kind, value):
        raise ZobenchError(f"{where} is not {KINDS[offer.kind].wants}")
    return value
