"""Which cells of a plan run, in which order, and which are done."""

from __future__ import annotations

from kits.run_kit import (
    carry_out,
    numbers,
    on_disk,
    plan,
    run,
)

from zobench.plugins.registry import load_plugins
from zobench.report.running import Claim
from zobench.run.progress import Progress


def test_done_cells_are_not_run_again_unless_asked(world, tmp_path, faulty, monkeypatch):
    def todo(rerun):
        return [c.estimator for c in plan(world, tmp_path, ["faulty", "mezo"], plugins=faulty, rerun=rerun)[0].todo]

    assert todo("missing") == ["faulty", "mezo"]
    monkeypatch.setenv("FAULT", "error@move")
    run(world, tmp_path, ["faulty", "mezo"], plugins=faulty)
    assert todo("missing") == []
    assert todo("failed") == ["faulty"]
    assert todo("always") == ["faulty", "mezo"]
    monkeypatch.delenv("FAULT")
    (mended,) = run(world, tmp_path, ["faulty", "mezo"], plugins=faulty, rerun="failed")
    assert mended["status"] == "ok" == on_disk(tmp_path, mended)["status"]
    assert not (tmp_path / "cells" / f"{mended['id']}.error.txt").exists()
    assert todo("failed") == []


def test_a_cell_run_always_gives_the_same_numbers(world, tmp_path):
    first = run(world, tmp_path, ["mezo", "lora_zo"], seeds=(0, 1))
    second = run(world, tmp_path, ["mezo", "lora_zo"], seeds=(0, 1), rerun="always")
    assert [numbers(r) for r in first] == [numbers(r) for r in second]
    assert len({r["metrics"]["dev"]["loss"] for r in first}) == 4


def test_records_of_the_same_cells_at_other_settings_are_counted(world, tmp_path):
    told = {"estimators": ["mezo"], "tasks": ["sst2"], "speed_steps": 0, "num_test": 2}
    (old,) = run(world, tmp_path, **told)
    assert not plan(world, tmp_path, **told)[0].beside, "that is the cell itself"
    assert plan(world, tmp_path, **told, eps=1e-2)[0].beside == {old["id"]}
    assert not plan(world, tmp_path, **told, eps=1e-2, seeds=(1,))[0].beside


def test_cells_go_task_by_task(world, tmp_path):
    made, _ = plan(world, tmp_path, ["zero_shot", "mezo"], ["all", "layer:1"], ["sst2", "copa"], seeds=(0, 1))
    assert [c.task for c in made.todo] == ["sst2"] * 5 + ["copa"] * 5
    assert [c.estimator for c in made.todo[:5]] == ["zero_shot"] + ["mezo"] * 4


def test_an_unreadable_record_counts_as_missing_and_is_told_of(world, tmp_path, capsys):
    (record,) = run(world, tmp_path, ["mezo"])
    path = tmp_path / "cells" / f"{record['id']}.json"
    path.write_text(path.read_text()[:200])
    (again,) = run(world, tmp_path, ["mezo"])
    assert numbers(again) == numbers(record)
    warning = capsys.readouterr().err
    assert "warning" in warning and path.name in warning and warning.count("\n") == 1


def test_a_cell_that_another_process_gives_up_is_taken_up(world, tmp_path, monkeypatch):
    made, place = plan(world, tmp_path, ["zero_shot", "mezo"])
    claim = Claim.take(tmp_path / "running", made.todo[0].id)
    ended = []
    monkeypatch.setattr(Progress, "cell_end", lambda self, record: ended.append(record["id"]) or claim.release())
    records = carry_out(made, place)
    assert sorted(r["id"] for r in records) == sorted(c.id for c in made.todo)
    assert ended == [made.todo[1].id, made.todo[0].id] and not made.elsewhere


def test_a_side_file_that_is_not_its_records_is_told_of_and_one_that_is_gone_is_not(world, tmp_path):
    how = (["mezo"], ["layer"], ["sst2"])
    sizes = {"layer__index": 1, "steps": 2, "eval_every": 1, "num_test": 4, "speed_steps": 0}
    (record,) = run(world, tmp_path, *how, **sizes)
    side = tmp_path / "cells" / record["files"]["steps"]["name"]

    def warned():
        said: list[str] = []
        made, _ = plan(world, tmp_path, *how, plugins=load_plugins(warn=said.append), **sizes)
        assert not made.todo
        return said

    assert warned() == []
    side.write_bytes(side.read_bytes()[:-1])
    (said,) = warned()
    assert side.name in said
    side.unlink()
    assert warned() == []
