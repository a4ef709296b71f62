"""Distributions with plugins: real entry-point metadata in a folder for sys.path or PYTHONPATH, without pip."""

from __future__ import annotations

import contextlib
import importlib
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

Install = Callable[..., Path]
SELECTORS = """
from zobench import hookimpl
from zobench.contracts.selector import Selector

class First(Selector):
    "The first block."

@hookimpl
def zobench_selectors():
    return {NAMES: First}
"""


def selectors(*names: str) -> str:
    """A plugin that offers one selector under these names."""
    return SELECTORS.replace("{NAMES: First}", "{" + ", ".join(f"{name!r}: First" for name in names) + "}")


def installer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """A function `install(dist, source, version=, entry=)` that makes `dist` importable and its entry point known."""
    monkeypatch.syspath_prepend(str(folder))

    def install(dist: str, source: str | None, *, version: str = "1.0", entry: str | None = None) -> Path:
        module = f"{dist}_module"
        monkeypatch.delitem(sys.modules, module, raising=False)
        path = folder / f"{module}.py"
        if source is not None:
            path.write_text(dedent(source))
        info = folder / f"{dist}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[zobench]\n{entry or dist} = {module}\n")
        importlib.invalidate_caches()
        return path

    return install


def wheel_of(project: Path, folder: Path) -> Path:
    """Build the wheel of a project into `folder`, which is made. No network."""
    from hatchling.build import build_wheel

    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(project):
        return folder / build_wheel(str(folder))


def install_example(folder: Path) -> Path:
    """Build the wheel of tests/example_plugin and unpack it into `folder`, as an installer does."""
    wheel = wheel_of(Path(__file__).parents[1] / "example_plugin", folder / "wheels")
    target = folder / "site"
    zipfile.ZipFile(wheel).extractall(target)
    return target
