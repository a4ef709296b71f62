"""The scores of the untouched model: taken once, whatever number of processes share a folder."""

from __future__ import annotations

import json
import threading
import time
from types import SimpleNamespace

import pytest
from kits.run_kit import numbers, plan, run

from zobench.errors import ZobenchError
from zobench.report import store, untouched
from zobench.run import zero_shot
from zobench.run.session import Session
from zobench.tasks.prepared import PreparedTask
from zobench.tasks.score import Score

SCORE = Score("accuracy", 0.5, 2, 0.1, [0.0, 1.0], 3, [0, 1])
OF = {"model": "m", "task": "t"}


def test_of_many_that_need_a_score_one_takes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(zero_shot, "LOOK_S", 0.005)
    taken, found, go = [], [], threading.Barrier(8)

    def take():
        taken.append(1)
        time.sleep(0.05)
        return SCORE

    def need():
        go.wait()
        found.append(zero_shot.shared(tmp_path, OF, take, run="r", anew=True))

    threads = [threading.Thread(target=need) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1 and found == [SCORE] * 8
    assert [path.suffix for path in (tmp_path / "zero_shot").iterdir()] == [".json"]


def test_what_is_no_whole_score_of_that_is_taken_anew(tmp_path):
    def score(of=OF, run="r", anew=False):
        asked = []
        zero_shot.shared(tmp_path, of, lambda: asked.append(1) or SCORE, run=run, anew=anew)
        return len(asked)

    assert (score(), score(), score(run="s"), score(run="s", anew=True), score(run="s", anew=True)) == (1, 0, 0, 1, 0)
    assert score(of={**OF, "task": "u"}) == 1
    path = untouched.path_of(tmp_path, OF)
    for spoiled in (lambda said: said["score"].update(value=1.0), lambda said: said["of"].update(task="u")):
        said = json.loads(path.read_text())
        spoiled(said)
        path.write_text(json.dumps(said))
        assert (score(), score()) == (1, 0)
    path.write_bytes(untouched.path_of(tmp_path, {**OF, "task": "u"}).read_bytes())  # whole, of other facts
    assert (score(), score()) == (1, 0)
    path.write_text("[" * 100_000)
    assert score() == 1
    zero_shot.forget(tmp_path, OF)
    assert score() == 1


def test_who_waits_for_a_score_stops_where_its_cell_is_over(tmp_path, monkeypatch):
    monkeypatch.setattr(zero_shot, "LOOK_S", 0.005)
    claim = zero_shot.Claim.take(tmp_path / "zero_shot", untouched.path_of(tmp_path, OF).stem)
    with pytest.raises(TimeoutError):
        zero_shot.shared(tmp_path, OF, lambda: SCORE, run="r", anew=False, waits=_over)
    claim.release()


@pytest.mark.parametrize("rank", [0, 1])
def test_of_processes_that_take_it_together_the_first_reads_and_writes(tmp_path, rank):
    said, taken = [], []

    def told(of, mine=None):
        said.append((of, mine))
        return mine if rank == 0 else None  # what the first one has

    def score():
        taken.append(1)
        return SCORE

    ranks = SimpleNamespace(rank=rank, told=told)
    assert zero_shot._on_all(ranks, tmp_path, OF, "r", False, score) == SCORE
    assert said == [("zero-shot", None)] and untouched.path_of(tmp_path, OF).exists() == (rank == 0)
    zero_shot.shared(tmp_path, OF, lambda: SCORE, run="r", anew=False)
    assert zero_shot._on_all(ranks, tmp_path, OF, "r", False, score) == SCORE
    assert said[1] == ("zero-shot", SCORE if rank == 0 else None) and len(taken) == 1 + rank
    zero_shot._on_all(ranks, tmp_path, OF, "s", True, score)
    assert said[2] == ("zero-shot", None), "another run that asks anew does not read it"


def _over():
    raise TimeoutError


def test_another_process_finds_the_score_and_its_record_does_not_tell(world, tmp_path, monkeypatch):
    told = {"layer__index": 1, "steps": 2, "eval_every": 1, "num_test": 4}
    (alone,) = run(world, tmp_path / "alone", ["mezo"], ["layer"], ["sst2"], seeds=(1,), **told)
    read, scored = [], PreparedTask.test_score
    monkeypatch.setattr(PreparedTask, "test_score", lambda self, *a: read.append(1) or scored(self, *a))
    for seed in (0, 1):  # each with a session of its own, as processes have
        (record,) = run(world, tmp_path / "r", ["mezo"], ["layer"], ["sst2"], seeds=(seed,), **told)
    assert len(read) == 3, "test of both cells, and once of the untouched model"
    assert numbers(record) == numbers(alone)
    made, _ = plan(world, tmp_path / "r", ["mezo"], ["layer"], ["sst2"], seeds=(0, 1), **told)
    assert not made.todo and not store.survey(tmp_path / "r").problems


def test_a_reference_that_fails_at_once_is_a_reference_still(world, tmp_path, monkeypatch):
    def fails(*_):
        raise ZobenchError("no such text")

    monkeypatch.setattr(Session, "prepared", fails)
    (record,) = run(world, tmp_path, ["zero_shot"])
    assert (record["status"], record["error"], record["stands"]) == ("error", "no such text", "untouched")
