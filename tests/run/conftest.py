"""The world of the run tests, made once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from run_kit import World, save_data, save_model


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
