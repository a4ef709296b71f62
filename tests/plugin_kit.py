"""Distributions with plugins, made on the fly: real entry-point metadata on sys.path, without pip."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

Install = Callable[..., Path]


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
