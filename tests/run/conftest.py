"""The world of the run tests, made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from kits.faulty_kit import FAULTY
from kits.once import measured_once, reached_once, read_once, tried_once  # noqa: F401 - fixtures of all tests here
from kits.run_kit import World, plugin_file, save_data, save_model

from zobench.plugins.registry import Plugins, load_plugins
from zobench.tasks.prepared import PreparedTask


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A tiny model and small data, read only."""
    folder = tmp_path_factory.mktemp("world")
    return World(save_model(folder / "model"), save_data(folder / "data"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models are slower on many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def faulty(tmp_path: Path) -> Plugins:
    """The built-ins, and a plugin that fails where FAULT says."""
    return load_plugins([plugin_file(tmp_path, FAULTY)])


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was read, in order: `step`, `dev loss`, `dev`, `test`."""
    seen: list[str] = []

    def spy(cls, method, name):
        original = getattr(cls, method)

        def spied(*args, **options):
            seen.append(name)
            return original(*args, **options)

        monkeypatch.setattr(cls, method, spied)

    spy(PreparedTask, "dev_loss", "dev loss")
    spy(PreparedTask, "dev_score", "dev")
    spy(PreparedTask, "test_score", "test")
    spy(PreparedTask, "train_batch", "batch")
    return seen
