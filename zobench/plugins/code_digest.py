"""Digests of the code of plugins: what a cell's identity knows of code that is not zobench's own.

Every byte counts, comments and blanks too: to say that a change cannot matter is not for a benchmark. Of a plugin file
the digest covers the file and the local modules that it imports, at whatever depth; of an installed distribution all
its files. What they import of other distributions is not covered. Light: nothing is imported.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import json
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import ZobenchError

DIGITS = 16
_OWN = frozenset({"zobench", "zobench_plugins", "zobench_tasks", "zobench_world"})
_CACHES = frozenset({"__pycache__", ".git", ".mypy_cache", ".ruff_cache", ".pytest_cache"})
_WRITTEN_BY_INSTALLERS = (".dist-info", ".egg-info")


def of_file(file: Path) -> str:
    """The digest of a plugin file and of the local modules that it imports. ZobenchError where one is unreadable."""
    found = {file: file.name}
    todo = [file]
    while todo:
        for root, path in _imported(todo.pop(), file.parent):
            if path not in found:
                found[path] = path.relative_to(root).as_posix()
                todo.append(path)
    return digest((name, path) for path, name in found.items())


def of_distribution(name: str, modules: Iterable[str]) -> str:
    """The digest of all files of an installed distribution, however it is installed; `modules`: its entry points'."""
    dist = importlib.metadata.distribution(name)
    if not _editable(dist):
        listed = [(f.as_posix(), Path(str(dist.locate_file(f)))) for f in dist.files or ()]
        named = [(said, path) for said, path in listed if _counts(said) and path.is_file()]
        if any(said.endswith(".py") for said, _ in named):
            return digest(named)
    tops = {module.partition(".")[0] for module in modules}
    tops |= set((dist.read_text("top_level.txt") or "").split())
    return digest((path.relative_to(root).as_posix(), path) for top in sorted(tops) for root, path in _files_of(top))


def digest(files: Iterable[tuple[str, Path]]) -> str:
    """Of (name, path) pairs, in whatever order: names and contents. ZobenchError where one cannot be read."""
    lines = []
    for name, path in files:
        try:
            with path.open("rb") as f:
                lines.append(f"{name} {hashlib.file_digest(f, 'sha256').hexdigest()}")
        except OSError as e:
            raise ZobenchError(f"cannot read {path}, a part of a plugin: {e.strerror}") from e
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:DIGITS]


def _editable(dist: importlib.metadata.Distribution) -> bool:
    told = json.loads(dist.read_text("direct_url.json") or "{}")
    return bool(told.get("dir_info", {}).get("editable"))


def _counts(name: str) -> bool:
    """Whether a file is the distribution's own and no trace of its installation."""
    first, parts = name.partition("/")[0], set(name.split("/"))
    return not (
        first.endswith(_WRITTEN_BY_INSTALLERS) or first == ".." or parts & _CACHES or name.endswith((".pyc", ".pth"))
    )


def _imported(file: Path, beside: Path) -> Iterator[tuple[Path, Path]]:
    """The files of the local modules that a file imports, each with the folder that its name is relative to."""
    if file.suffix != ".py":
        return
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return  # it is not this module's to say that a plugin cannot be loaded
    tops = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            tops |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            tops.add(node.module.partition(".")[0])
    for top in sorted(tops - _OWN):
        for path in (beside / f"{top}.py", beside / top):
            yield from ((beside, one) for one in _walk(path))
        yield from _files_of(top, local=True)


def _files_of(top: str, *, local: bool = False) -> Iterator[tuple[Path, Path]]:
    """The files of a top-level module that can be imported now; with `local`, unless it is installed."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return
    if spec is None or spec.origin in ("built-in", "frozen"):
        return
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    for path in folders or ([Path(spec.origin)] if spec.origin else []):
        if not (local and _installed(path)):
            yield from ((path.parent, one) for one in _walk(path))


def _installed(path: Path) -> bool:
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    homes = [Path(sysconfig.get_path(kind)).resolve() for kind in kinds]
    here = path.resolve()
    return any(here.is_relative_to(home) for home in homes) or "site-packages" in here.parts


def _walk(path: Path) -> Iterator[Path]:
    """A file, or all files in a folder but caches and what is compiled from the others."""
    if path.is_file():
        yield path
    elif path.is_dir():
        for one in sorted(path.rglob("*")):
            if one.is_file() and not _CACHES & set(one.parts) and one.suffix != ".pyc":
                yield one
