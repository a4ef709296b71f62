"""A disk that is full, or read-only, whatever is written then: one line, nothing lost, and the same command goes on."""

from __future__ import annotations

import errno
import os

import pytest
from kits.run_kit import carry_out, numbers, on_disk, plan, run

from zobench.errors import ZobenchError
from zobench.report import progress_of_grid, running, store
from zobench.run import journal, whole_run
from zobench.run.artefacts import Artefacts
from zobench.run.diary import Diary
from zobench.run.journal import Journal


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    (record,) = run(world, tmp_path_factory.mktemp("whole"), ["mezo"])
    return record


def full(*_args, **_options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


WRITES = {
    "what is planned": (progress_of_grid, "plan"),
    "the claim on": (running, "_write"),
    "the journal of": (Journal, "write"),
    "the record of": (store, "write"),
    "the board": (whole_run.page, "write"),
}


@pytest.mark.parametrize("what", WRITES)
def test_what_has_no_room_is_named_and_the_same_command_goes_on(world, tmp_path, whole, what, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(*WRITES[what], full)
        with pytest.raises(ZobenchError) as told:
            made, place = plan(world, tmp_path, ["mezo"])
            carry_out(made, place)
            whole_run.board(made, place)
    assert f"--results {tmp_path}: {what}" in str(told.value)
    assert f"cannot be written: {os.strerror(errno.ENOSPC)}; mend that, and the same command goes on" in str(told.value)
    assert not [*tmp_path.rglob("*.claim-*"), *(tmp_path / "cells").glob(".*")]
    run(world, tmp_path, ["mezo"])
    assert numbers(on_disk(tmp_path, whole)) == numbers(whole)


class Cut:
    """A file of which the disk takes half of what is written, and nothing after that."""

    closed = False

    def __init__(self, file):
        self.file = file

    def write(self, data):
        os.write(self.file.fileno(), data[: len(data) // 2])
        full()

    def flush(self):
        full()

    def fileno(self):
        return self.file.fileno()

    def close(self):
        self.file.close()
        full()


@pytest.mark.parametrize("record", [True, False], ids=["the record fits", "nor has the record room"])
def test_a_disk_that_fills_while_a_cell_trains(world, tmp_path, whole, monkeypatch, record):
    """The frame is cut, the cell fails by the machine, and what the frames before it say is not run again."""
    monkeypatch.setattr(journal, "FLUSH_S", 0.0)
    write = Diary._write

    def filling(self, estimator, feed, out, budget):
        if out.steps == 3:
            self.journal._file = Cut(self.journal._file)
        write(self, estimator, feed, out, budget)

    with monkeypatch.context() as patch:
        patch.setattr(Diary, "_write", filling)
        made, place = plan(world, tmp_path, ["mezo"])
        if record:
            (failed,) = carry_out(made, place)
            assert (failed["status"], failed["retry"]) == ("error", os.strerror(errno.ENOSPC))
        else:
            patch.setattr(store, "write", full)
            with pytest.raises(ZobenchError, match="the record of .* cannot be written"):
                carry_out(made, place)
    (again,) = run(world, tmp_path, ["mezo"])
    assert numbers(again) == numbers(whole) and again["resumed"] == {"times": 1, "replayed": 2}
    assert not (tmp_path / running.FOLDER).exists()


def test_lines_of_a_curve_that_have_no_room_do_not_hide_what_failed(world, tmp_path):
    made = Artefacts(tmp_path, "a-b-c-s0-0")
    made.log(lr=1.0, step=1, loss=1.0)
    made._steps = Cut(made._steps)
    made.discard()
    assert not list((tmp_path / "cells").iterdir())
