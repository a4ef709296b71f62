"""What is the same for the same model in files is worked out once in a process of tests: fixtures for a conftest."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from zobench.models import capabilities, load, outline, reach, reading
from zobench.models.load import LoadedModel
from zobench.run import prefix, train

from .copies import copier

__all__ = ["measured_once", "reached_once", "read_once", "tried_once"]


@pytest.fixture(scope="session", autouse=True)
def measured_once() -> Iterator[None]:
    """What a model can do is measured once for the same files, precision and device, as once in a process of a user.

    Each test of a run loads its model anew, and a fifth of such a test would go into measuring the same again. A model
    whose forward or blocks a test has put others in the place of is measured by itself.
    """
    measure, known, blocks = capabilities.measure, {}, load.decoder_blocks

    def once(loaded: LoadedModel) -> capabilities.Capabilities:
        changed = "forward" in vars(loaded.model) or load.decoder_blocks is not blocks
        if changed or loaded.revision is None or type(loaded) is not LoadedModel:
            return measure(loaded)
        key = (loaded.revision, loaded.dtype, loaded.device, type(loaded.model))
        if key not in known:
            known[key] = measure(loaded)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capabilities, "measure", once)
        yield


def as_loaded(loaded: LoadedModel) -> bool:
    """Whether nothing is attached to a model from files: no module, forward or hook of others."""
    theirs = ("torch.nn.", "transformers.")
    return (
        type(loaded) is LoadedModel
        and loaded.revision is not None
        and all(
            type(m).__module__.startswith(theirs)
            and "forward" not in vars(m)
            and not (m._forward_hooks or m._forward_pre_hooks)
            for m in loaded.model.modules()
        )
    )


@pytest.fixture(scope="session", autouse=True)
def tried_once() -> Iterator[None]:
    """Whether a model takes several points together and can be cut at a block is tried once for each, as it is loaded.

    Cells ask at each training run, which is a sixth of one here. Of a model to which something is attached, and where
    a test looks for what is made of the answer, it is tried each time.
    """
    together, cut_at, known = capabilities.points_together, capabilities.cut_at, {}

    def together_once(loaded, forward, packed, *more):
        if not as_loaded(loaded) or vars(forward).get("call") is not loaded.model:
            return together(loaded, forward, packed, *more)
        same = replace(forward, call=None, packing=None)
        key = (loaded.revision, loaded.dtype, loaded.device, same, forward.packing is None, packed, *more)
        if key not in known:
            known[key] = together(loaded, forward, packed, *more)
        return known[key]

    def cut_once(loaded, at):
        key = (loaded.revision, loaded.dtype, loaded.device, at)
        if not as_loaded(loaded):
            return cut_at(loaded, at)
        if key not in known:
            known[key] = cut_at(loaded, at) is not None
        return capabilities.Cut(loaded.blocks, at) if known[key] else None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "points_together", together_once)
        patch.setattr(prefix, "cut_at", cut_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def reached_once() -> Iterator[None]:
    """What a forward over text does not reach of a model as it is in its files is looked for once."""
    unreached, known = reach.unreached, {}

    def once(loaded: LoadedModel) -> list[str]:
        if not as_loaded(loaded):
            return unreached(loaded)
        key = (loaded.revision, loaded.dtype, loaded.device, type(loaded.model))
        if key not in known:
            known[key] = unreached(loaded)
        return list(known[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reach, "unreached", once)
        yield


@pytest.fixture(scope="session", autouse=True)
def read_once() -> Iterator[None]:
    """transformers reads the same files once, and each load or outline is given a copy of what it read.

    The checks before that, of the files, and those after it, of the model, are made each time.
    """
    read, known = load._read_model, {}

    def once(folder, spec, config, dtype, place):
        key = (folder.path, folder.revision, dtype)
        if place.device != "cpu" or place.room or folder.revision is None:
            return read(folder, spec, config, dtype, place)
        if key not in known:
            known[key] = copier(read(folder, spec, config, dtype, place))
        return known[key]()

    of_config = outline.of_config

    def outlined_once(config, tokenizer, folder, spec, *, dtype, device):
        key = (of_config, folder.path, folder.revision, dtype, device)
        if folder.revision is None:
            return of_config(config, tokenizer, folder, spec, dtype=dtype, device=device)
        if key not in known:
            known[key] = copier(of_config(config, tokenizer, folder, spec, dtype=dtype, device=device))
        return known[key]()

    def settings_once(read):
        def once(folder, spec):
            key = (read, folder.path, folder.file, folder.revision)
            if key not in known:
                known[key] = copier(read(folder, spec))
            return known[key]()

        return once

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "_read_model", once)
        patch.setattr(outline, "of_config", outlined_once)
        for module, name in itertools.product((load, outline), ("read_tokenizer", "read_config")):
            patch.setattr(module, name, settings_once(getattr(reading, name)))
        yield
