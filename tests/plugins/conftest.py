"""Plugins, installed or as a file, for one test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from kits.once import measured_once, reached_once, read_once, tried_once  # noqa: F401 - fixtures of all tests here
from kits.plugin_kit import Install, installer

from zobench.plugins.registry import Plugins, load_plugins


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    return installer(tmp_path, monkeypatch)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Callable[..., Plugins]]:
    """Load a source text as a local plugin file, next to the built-ins."""

    def load(source: str, name: str = "mine.py", **options: object) -> Plugins:
        path = tmp_path / name
        path.write_text(dedent(source))
        return load_plugins([path], only="", **options)

    yield load
    for name in [name for name in sys.modules if name.startswith("zobench_file_")]:
        del sys.modules[name]
