"""What a class or function says of itself, read from its source without importing it.

`zobench ls` names what "package.module:Class" is and how many settings it has; importing it would import torch.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import itertools
from dataclasses import dataclass
from pathlib import Path

from ..errors import ZobenchError
from ..plugins.discovery import describe_fault, one_line
from ..plugins.presets import Preset
from ..plugins.registry import KINDS, Offer
from ..settings import settings_of

_OWN = "zobench"  # the core's classes: bases that declare no setting, and re-export lazily, which source cannot show


@dataclass(frozen=True)
class Summary:
    """One line on a registered thing."""

    text: str
    settings: int | None = None  # None: of a kind that has none


def summarise(offer: Offer) -> Summary:
    """What an offer's description begins with, and how many settings it has; ZobenchError where that cannot be read."""
    if offer.kind == "tasks":
        return _task(offer)
    if isinstance(offer.value, Preset):
        return Summary(offer.value.about)
    try:
        summary = _read(offer.value) if isinstance(offer.value, str) else _ask(offer.value)
        return summary if KINDS[offer.kind].settings else Summary(summary.text)
    except KeyboardInterrupt:
        raise
    except BaseException as e:  # finding a module imports its package, which may raise anything
        where = f"{KINDS[offer.kind].singular} {offer.name!r} of {offer.by}"
        raise ZobenchError(f"{where}: {offer.value!r:.80} cannot be described: {describe_fault(e)}") from e


def _read(lazy: str) -> Summary:
    """Of what "module:Name" names, from its source."""
    module, _, name = lazy.partition(":")
    node, home = _definition(module, name)
    count = len(_declared(node, home)) if isinstance(node, ast.ClassDef) else None
    return Summary(_first_line(ast.get_docstring(node)), count)


def _ask(value: object) -> Summary:
    """Of a class or function that exists."""
    if not isinstance(value, type):
        return Summary(_first_line(inspect.getdoc(value)))
    return Summary(_first_line(value.__dict__.get("__doc__")), len(settings_of(value)))


def _task(offer: Offer) -> Summary:
    from ..tasks.task import Task

    task = Task.load(offer.value) if isinstance(offer.value, Path) else offer.value
    if not isinstance(task, Task):
        return Summary(f"made by {task}")
    return Summary(f"{task.title} ({task.kind}, {task.metric})")


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().partition("\n")[0].strip()


@functools.lru_cache(maxsize=256)
def _tree(module: str) -> tuple[ast.Module, str]:
    """The syntax tree of a module's source, and the package that its relative imports start from."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise LookupError(f"no source of module {module}")
    package = module if spec.submodule_search_locations is not None else module.rpartition(".")[0]
    return ast.parse(Path(spec.origin).read_bytes(), spec.origin), package


def _definition(module: str, name: str) -> tuple[ast.ClassDef | ast.FunctionDef, str]:
    """Where `name` of `module` is defined, following `from x import name`: its node and its module."""
    tree, package = _tree(module)
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return node, module
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    source = "." * node.level + (node.module or "")
                    return _definition(importlib.util.resolve_name(source, package), alias.name)
    raise LookupError(f"no class or function {name} in {module}")


def _declared(node: ast.ClassDef, module: str) -> set[str]:
    """Names of the settings of a class and its bases, by the rule of zobench.settings.settings_of."""
    names: set[str] = set()
    for base in node.bases:
        if isinstance(base, ast.Name) and not _comes_from_core(base.id, module):
            parent, home = _definition(module, base.id)
            if isinstance(parent, ast.ClassDef):
                names |= _declared(parent, home)
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.value is not None:
            if not item.target.id.startswith("_") and "ClassVar" not in ast.unparse(item.annotation):
                names.add(item.target.id)
    return names


def setting_notes(cls: type) -> dict[str, str]:
    """The texts in quotes that stand under settings of a class and its bases, by setting, as one line each."""
    notes: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        node = _class_node(base)
        for item, below in itertools.pairwise(node.body) if node else ():
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and isinstance(below, ast.Expr):
                if isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
                    notes[item.target.id] = one_line(below.value.value)
    declared = settings_of(cls)
    return {name: text for name, text in notes.items() if name in declared}


def _class_node(cls: type) -> ast.ClassDef | None:
    """The source of a class; None for one whose module has none to read, or which is not at its module's top."""
    try:
        tree, _ = _tree(cls.__module__)
    except (ImportError, LookupError, ValueError):
        return None
    return next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == cls.__name__), None)


def _comes_from_core(name: str, module: str) -> bool:
    tree, _ = _tree(module)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and not node.level]
    return any(
        (node.module or "").partition(".")[0] == _OWN and any((a.asname or a.name) == name for a in node.names)
        for node in imports
    )
