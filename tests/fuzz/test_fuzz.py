"""No input ends in a traceback: thousands of command lines, settings, records, task files, rows, logs and headers."""

from __future__ import annotations

import collections
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from kits.fuzz_kit import KINDS, World, inputs, known_names
from kits.run_kit import World as Made
from kits.run_kit import plan, run, save_data, save_model
from kits.told import told

from zobench.models import load as loading

FEW = {kind: max(2, count // 100) for kind, (_, count) in KINDS.items()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A tiny model, small data, and six records of it, made once."""
    known_names()
    folder = tmp_path_factory.mktemp("fuzz")
    made = Made(save_model(folder / "model"), save_data(folder / "data"))
    first, *_ = run(made, folder / "results", ["mezo", "zero_shot"], ["layer:1", "all"], ["sst2", "copa"])
    return World(made.model, made.data, folder / "results", first["id"])


@pytest.fixture
def planned_only(monkeypatch: pytest.MonkeyPatch, world: World, tmp_path: Path) -> Iterator[None]:
    """Nothing that can be planned is run, and the model of the world is read once."""
    kept = loading.load_model(str(world.model), device="cpu", offline=True)
    real = loading.load_model

    def load_model(spec: str, **options: object):
        usual = {"dtype": "float32", "offline": True}
        if spec == str(world.model) and all(options.get(k, v) == v for k, v in usual.items()):
            return kept if options.get("device", "auto") in ("auto", "cpu") else real(spec, **options)
        return real(spec, **options)

    # What libraries log of odd inputs holds half letters, which no report of a worker process can carry.
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    monkeypatch.setattr(loading, "load_model", load_model)
    monkeypatch.setattr("zobench.cli.run._execute", lambda *_: None)
    monkeypatch.setattr("zobench.cli.dry_run.show", lambda *_: None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield


def faults(world: World, root: Path, counts: dict[str, int]) -> list[str]:
    found, said = [], collections.Counter[tuple[str, object]]()
    for kind, number, _, words in inputs(world, root, counts):
        answer = told(words)
        said[kind, answer.status] += 1
        if answer.fault:
            found.append(f"{kind} {number}: {answer.fault}  <- {' '.join(words)!r:.300}")
    for (kind, status), count in sorted(said.items(), key=str):
        print(f"{kind}: {count} ended with {status}")
    return found


def test_a_hundred_odd_inputs(world, tmp_path, planned_only):
    assert faults(world, tmp_path, FEW) == []


@pytest.mark.slow
def test_ten_thousand_odd_inputs(world, tmp_path, planned_only):
    counts = {kind: count for kind, (_, count) in KINDS.items()}
    assert sum(counts.values()) == 10_000
    assert faults(world, tmp_path, counts) == []


def test_the_inputs_are_the_same_every_time_and_many_go_through(world, tmp_path, planned_only):
    """What is wrong with an input must not always be its first word: every kind has some that are answered with 0."""
    for kind in ("command lines", "settings", "expressions", "records", "task files", "data rows"):
        first = [words for *_, words in inputs(world, tmp_path, {kind: 9})]
        assert first == [words for *_, words in inputs(world, tmp_path, {kind: 9})], kind
        assert any(told(words).status == 0 for *_, words in inputs(world, tmp_path, {kind: 60})), kind


def test_a_traceback_would_be_seen(world, tmp_path, planned_only, monkeypatch):
    monkeypatch.setattr("zobench.run.routing.parse_settings", lambda _: 1 / 0)
    (fault, *_) = faults(world, tmp_path, {"settings": 1})
    assert "status 70" in fault and "this is a bug in zobench: ZeroDivisionError" in fault


def test_what_is_planned_here_can_be_run(world):
    made, _ = plan(Made(world.model, world.data), world.results, ["mezo"], ["layer:1"], ["sst2"], rerun="always")
    assert len(made.todo) == 1
