"""Runs and replays on a folder whose records are packed: as on one of files."""

from __future__ import annotations

import pytest
from kits.run_kit import carry_out, plan, run
from safetensors.torch import load_file

from zobench.cli import main
from zobench.report import leaderboard, packed, packing, store


@pytest.fixture(scope="module")
def done(world, tmp_path_factory):
    """A finished cell, packed with its side files."""
    results = tmp_path_factory.mktemp("packed")
    (record,) = run(world, results, ["mezo"], steps=4, engine="flat")
    loose = results / "loose.safetensors"
    assert main(["replay", str(results), record["id"], "--model", str(world.model), "--out", str(loose)]) == 0
    assert main(["pack", str(results), "--with", "steps,replay", "--remove"]) == 0
    return record, results, loose


def test_what_is_packed_is_done_and_what_is_new_is_read_beside_it(world, done):
    record, results, _ = done
    made, place = plan(world, results, ["mezo", "zero_shot"], steps=4, engine="flat")
    assert list(made.done) == [record["id"]] and [cell.estimator for cell in made.todo] == ["zero_shot"]
    carry_out(made, place)
    assert len(list((results / "cells").glob("*.json"))) == 1
    records, problems = store.read(results)
    assert not problems and {r["cell"]["estimator"] for r in records} == {"mezo", "zero_shot"}
    board = leaderboard.render(records)
    packing.pack(results, remove=True)
    assert leaderboard.render(store.read(results)[0]) == board


def test_a_packed_log_replays_to_the_same_bits(world, done, tmp_path, capsys):
    record, results, loose = done
    assert not list((results / "cells").glob("*.replay.bin"))
    out = tmp_path / "w.safetensors"
    arguments = ["replay", str(results), record["id"], "--model", str(world.model), "--out", str(out)]
    assert main(arguments) == 0
    mine, theirs = load_file(out), load_file(loose)
    assert mine.keys() == theirs.keys() and all(mine[name].equal(theirs[name]) for name in mine)
    aside = (results / packed.SIDES).rename(tmp_path / "aside")
    capsys.readouterr()
    assert main(arguments) == 2 and "neither" in capsys.readouterr().err
    aside.rename(results / packed.SIDES)


def test_a_rerun_stands_beside_the_pack(world, done):
    record, results, _ = done
    (again,) = run(world, results, ["mezo"], steps=4, engine="flat", rerun="always")
    assert again["id"] == record["id"] and store.find(results, record["id"]) == again
    assert store.survey(results).twice == [record["id"]]
    (results / "cells" / f"{record['id']}.json").unlink()
    assert store.find(results, record["id"]) == record


def test_a_pack_that_cannot_be_read_stops_a_run_before_it_begins(world, done, tmp_path, monkeypatch):
    from zobench.errors import ZobenchError

    _, results, _ = done

    def refuse(path):
        raise packed.Fault("cannot be read (Permission denied)", "check its permissions", "unread")
        yield

    monkeypatch.setattr(packed, "lines", refuse)
    with pytest.raises(ZobenchError, match=r"records\.jsonl\.xz: cannot be read"):
        plan(world, results, ["mezo"], steps=4, engine="flat")
