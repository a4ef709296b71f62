"""From entry points and files to loaded plugin objects: each one guarded, so that a broken plugin breaks nothing else.

Light: imports no torch. What a plugin itself imports is its own affair (see docs/plugins.md, "Keep it light").
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pluggy

from ..errors import ZobenchError, said, unknown
from ..paths import is_file, read
from . import hookspecs

GROUP = "zobench"
BUILT_IN = "zobench"
ONLY_VARIABLE = "ZOBENCH_PLUGINS"


@dataclass(frozen=True)
class PluginInfo:
    """One plugin as `zobench plugins` shows it."""

    name: str  # of its entry point, or the file's name without .py
    dist: str  # its distribution, or the path of the file
    version: str  # of the distribution, or the first 12 hex digits of the file's SHA-256
    hooks: tuple[str, ...] = ()
    error: str | None = None  # why it was not loaded, in one line

    @property
    def origin(self) -> str:
        """Distribution and version, as far as they are known."""
        return f"{self.dist} {self.version}".strip()

    def __str__(self) -> str:
        return f"plugin {self.name!r} ({self.origin})"


@dataclass(frozen=True)
class Candidate:
    """A plugin that was found and not loaded yet."""

    info: PluginInfo
    load: Callable[[], object]

    @property
    def key(self) -> str:
        """`distribution:entry-point`: the one name that no other plugin has."""
        return f"{self.info.dist}:{self.info.name}"

    def answers_to(self, word: str) -> bool:
        """Whether a word of ZOBENCH_PLUGINS means this one."""
        return word in (self.info.name, self.info.dist, self.key)


class PluginFault(Exception):
    """What is wrong with a plugin, in one line."""


def from_entry_points() -> list[Candidate]:
    """All plugins that installed distributions declare in the group `zobench`, the built-ins first, then by name."""
    found = [Candidate(PluginInfo(one.point.name, one.dist, one.version), one.point.load) for one in _declared()]
    return sorted(found, key=lambda c: (c.info.dist != BUILT_IN, c.info.dist, c.info.name))


def entry_points_of(dist: str) -> list[str]:
    """The modules that a distribution's entry points in the group `zobench` name."""
    return [one.point.module for one in _declared() if one.dist == dist]


class _Declared(NamedTuple):
    """An entry point in the group `zobench`, and whose it is; "?" where it does not say."""

    point: EntryPoint
    dist: str
    version: str


def _declared() -> tuple[_Declared, ...]:
    """Every entry point in the group. The files of all distributions are read again where something was installed."""
    return _read(tuple(map(_stamp, sys.path)), tuple(map(id, sys.meta_path)))


def _stamp(path: str) -> tuple[object, ...]:
    """What changes when something is put into a folder of sys.path, or taken out of it."""
    try:
        there = os.stat(path or os.curdir)
    except OSError:
        return (path,)
    return path, there.st_dev, there.st_ino, there.st_mtime_ns


@lru_cache(maxsize=1)
def _read(path: tuple[object, ...], finders: tuple[int, ...]) -> tuple[_Declared, ...]:
    points = entry_points(group=GROUP)
    of = {id(point.dist): point.dist for point in points}
    told = {key: ("?", "") if dist is None else (dist.name, dist.version) for key, dist in of.items()}
    return tuple(_Declared(point, *told[id(point.dist)]) for point in points)


def from_file(path: str | Path) -> Candidate:
    """A local Python file as a plugin. ZobenchError if there is no such file, or it cannot be read."""
    file = Path(os.path.realpath(os.path.expanduser(path)))
    if not is_file(file, "the plugin file"):
        raise ZobenchError(f"no plugin file {str(path)!r}: --plugin takes the path of a Python file")
    digest = hashlib.sha256(read(file, "the plugin file")).hexdigest()[:12]
    return Candidate(PluginInfo(file.stem, str(path), digest), lambda: _import_file(file))


def _import_file(file: Path) -> ModuleType:
    """Import `file` under a name of its own: in sys.modules, because annotations are looked up there."""
    mark = hashlib.sha256(str(file).encode()).hexdigest()[:8]
    name = f"zobench_file_{re.sub(r'[^A-Za-z0-9_]', '_', file.stem)}_{mark}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise PluginFault("not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def limit(candidates: Sequence[Candidate], only: str | None) -> list[Candidate]:
    """Those of `candidates` that the text of ZOBENCH_PLUGINS lets load.

    None: all. Otherwise comma-separated names of entry points or distributions (or `distribution:entry`): of the
    plugins of others only those named load, so that the empty text leaves the built-ins alone. `-name` leaves
    one out, a built-in too; with nothing but `-names`, all the rest loads. ZobenchError for a name that is not there.
    """
    if only is None:
        return list(candidates)
    words = [word.strip() for word in only.split(",") if word.strip()]
    known = {name for c in candidates for name in (c.info.name, c.info.dist, c.key)}
    for word in words:
        if word.removeprefix("-") not in known:
            raise ZobenchError(f"{ONLY_VARIABLE}: " + unknown("plugin", word.removeprefix("-"), known))
    out = [word[1:] for word in words if word.startswith("-")]
    chosen = [word for word in words if not word.startswith("-")]
    open_to_all = bool(out) and not chosen

    def loads(c: Candidate) -> bool:
        if any(c.answers_to(word) for word in out):
            return False
        return open_to_all or c.info.dist == BUILT_IN or any(c.answers_to(word) for word in chosen)

    return [c for c in candidates if loads(c)]


def hook_arguments(manager: pluggy.PluginManager) -> dict[str, tuple[str, ...]]:
    """Every hook of zobench and the names of its arguments."""
    specs = {name: caller.spec for name, caller in vars(manager.hook).items() if caller.spec is not None}
    return {name: tuple(spec.argnames) for name, spec in specs.items()}


def new_manager() -> pluggy.PluginManager:
    """A plugin manager that knows zobench's hooks and no plugin."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def register(manager: pluggy.PluginManager, plugin: object, key: str) -> tuple[str, ...]:
    """Register `plugin` under `key` after checking its hooks, and return their names; PluginFault if one is wrong."""
    specs = hook_arguments(manager)
    hooks = _checked_hooks(manager, plugin, specs)
    try:
        manager.register(plugin, key)
    except ValueError:
        raise PluginFault("the same module is already loaded under another name") from None
    except pluggy.PluginValidationError as e:
        raise PluginFault(one_line(str(e))) from None
    return hooks


def _checked_hooks(manager: pluggy.PluginManager, plugin: object, specs: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    hooks: list[str] = []
    for name in dir(plugin):
        function = getattr(plugin, name, None)
        if not inspect.isroutine(function):
            continue
        options: Any = manager.parse_hookimpl_opts(plugin, name)
        if options is None:
            if name in specs:
                raise PluginFault(f"{name} is not marked with @zobench.hookimpl{_line_of(function)}")
            continue
        hook = options.get("specname") or name
        if hook not in specs and not options.get("optionalhook"):
            raise PluginFault(unknown("hook", hook, specs, see="docs/plugins.md") + _line_of(function))
        if options.get("wrapper") or options.get("hookwrapper"):
            raise PluginFault(f"{hook} is a hook wrapper, which zobench does not use{_line_of(function)}")
        for argument in _arguments(function) - set(specs[hook]) if hook in specs else ():
            known = unknown(f"argument of {hook}", argument, specs[hook], see="docs/plugins.md")
            raise PluginFault(known + _line_of(function))
        hooks.append(hook)
    if not hooks:
        raise PluginFault("it has no hook: no function marked with @zobench.hookimpl (see: docs/plugins.md)")
    return tuple(hooks)


def _arguments(function: Callable[..., object]) -> set[str]:
    """The arguments a hook implementation asks for: those without a default."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return {p.name for p in parameters if p.default is p.empty and p.kind in positional}


def _line_of(function: object) -> str:
    code = getattr(function, "__code__", None)
    return f" ({Path(code.co_filename).name}:{code.co_firstlineno})" if code else ""


def one_line(text: str) -> str:
    """Text with every run of white space made one blank."""
    return " ".join(text.split())


def describe_fault(e: BaseException) -> str:
    """An exception in one line with the place it came from: `ValueError: no such thing (my_zo.py:12)`."""
    if isinstance(e, PluginFault | ZobenchError):
        return one_line(str(e))
    if isinstance(e, SyntaxError):
        return f"{type(e).__name__}: {one_line(str(e.msg))} ({Path(e.filename or '?').name}:{e.lineno})"
    text = said(e)
    return type(e).__name__ + (f": {text}" if text else "") + _place(traceback.extract_tb(e.__traceback__))


def _place(frames: Iterable[traceback.FrameSummary]) -> str:
    """The innermost frame that is neither the import machinery nor this package."""
    here = str(Path(__file__).parent) + os.sep
    for frame in reversed(list(frames)):
        machinery = frame.filename.startswith("<") or "/importlib/" in frame.filename.replace("\\", "/")
        if not machinery and not frame.filename.startswith(here):
            return f" ({Path(frame.filename).name}:{frame.lineno})"
    return ""
