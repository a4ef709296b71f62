"""`data_seed` chooses the examples, and what is odd about them is in the record's notes."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
from kits.run_kit import plan

from zobench.errors import ZobenchError
from zobench.protocol.protocol import Protocol
from zobench.run import session
from zobench.tasks.sampling import sample
from zobench.tasks.task import Task, task_files


def task(name: str) -> Task:
    return Task.load(task_files("zobench_tasks")[name])


@pytest.fixture
def prepared(monkeypatch, tmp_path):
    """The splits that a session with this protocol makes of a folder's data, without a model."""
    rows = [{"sentence": f"film {i}", "label": i % 2} for i in range(60)]
    (tmp_path / "sst2").mkdir()
    for split in ("train", "validation"):
        (tmp_path / "sst2" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(session, "PreparedTask", lambda task, splits, *rest: SimpleNamespace(splits=splits))

    def make(**rules):
        made = session.Session(SimpleNamespace(), SimpleNamespace(task=task), tmp_path)
        held, splits = made.prepared("sst2", Protocol(num_train=10, num_dev=5, num_test=8, **rules))
        assert held.splits is splits
        return splits

    return make


def test_data_seed_chooses_the_examples(prepared):
    for seed in (0, 1, 7):
        splits = prepared(data_seed=seed)
        drawn = sample(60, 15, seed)
        assert splits.indices == {"train": drawn[:10], "dev": drawn[10:], "test": sample(60, 8, seed)}
    assert prepared().indices == prepared(data_seed=0).indices != prepared(data_seed=1).indices


def test_train_equal_to_validation_is_noted(prepared):
    notes = prepared().notes
    assert notes["pools"].startswith("train and validation are the same file")
    assert {"test_in_train", "test_in_dev"} & set(notes)


@pytest.mark.parametrize(("asked", "held"), [(None, "the task's"), (7, 7), (0, 0)])
def test_dev_is_as_large_as_the_protocol_says_or_the_task(world, tmp_path, monkeypatch, asked, held):
    made, _ = plan(world, tmp_path, ["mezo"])
    sizes = []

    def split(pools, **sizes_of):
        sizes.append(sizes_of["num_dev"])
        raise ZobenchError("enough")

    monkeypatch.setattr("zobench.run.session.split", split)
    made.session._prepared = None
    with pytest.raises(ZobenchError, match="enough"):
        made.session.prepared("copa", dataclasses.replace(made.todo[0].protocol, num_dev=asked))
    assert sizes == [made.session.task("copa").num_dev if held == "the task's" else held]
    assert made.session.task("copa").num_dev == 100
