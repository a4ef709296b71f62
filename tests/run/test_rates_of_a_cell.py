"""What the learning rates of a cell share, and what they may not: the engine, and memory."""

from __future__ import annotations

import weakref
from contextlib import contextmanager

from kits.run_kit import (
    plan,
    run,
)

from zobench.engine import EngineChoice
from zobench.run import stages as runner_module
from zobench.run.method import keeper


def test_the_engine_is_chosen_once_a_cell_and_is_that_of_every_rate_of_the_reading_and_of_the_record(
    world, tmp_path, monkeypatch
):
    """Memory comes and goes between learning rates; `auto` may not."""
    choices, used = (
        iter([EngineChoice("flat", "arithmetic"), EngineChoice("pair", "exact"), EngineChoice("flat", "exact")] * 5),
        [],
    )
    original = runner_module.applied

    @contextmanager
    def spied(*args, **options):
        with original(*args, **options) as on:
            used.append((on.info["engine"], on.info["restore"]))
            yield on

    monkeypatch.setattr("zobench.run.method.choose", lambda *_args, **_options: next(choices))
    monkeypatch.setattr(runner_module, "applied", spied)
    (record,) = run(world, tmp_path, ["mezo"], lrs=(1e-3, 1e-2, 1e-1), dtype="bfloat16")
    assert record["status"] == "ok" and len(record["trials"]) == 3
    assert used == [("flat", "arithmetic")] * 4  # three rates and the reading
    assert (record["engine"]["engine"], record["engine"]["restore"]) == used[0]


def test_a_rate_is_gone_before_the_next_one_is_put_on(world, tmp_path, monkeypatch):
    """Buffers and copies of one rate beside those of the next would double what a cell takes."""
    original, alive = runner_module.applied, []

    @contextmanager
    def spied(*args, **options):
        assert not [e for e in (ref() for ref in alive) if e is not None], "an estimator of an earlier rate lives"
        with original(*args, **options) as on:
            alive.append(weakref.ref(on.estimator))
            yield on

    monkeypatch.setattr(runner_module, "applied", spied)
    (record,) = run(world, tmp_path, ["zo_adam"], lrs=(1e-3, 1e-2, 1e-4))
    assert record["status"] == "ok", record["error"]
    assert len(alive) == 4


def test_copies_stay_on_the_device_where_four_more_fit(world, tmp_path, monkeypatch):
    loaded = plan(world, tmp_path, ["mezo"])[0].session.loaded
    monkeypatch.setattr("zobench.run.method.free_bytes", lambda device: 401)
    made: list[dict[str, object]] = []

    class Seen:
        def clone(self):
            made.append({"clone": True})

        def to(self, *where, **how):
            made.append({"to": where, **how})

    for size in (100, 101, 400):
        keeper(loaded, size)(Seen())
    assert made == [{"clone": True}, {"to": ("cpu",), "copy": True}, {"to": ("cpu",), "copy": True}]
