"""Folders that become one: what lies in them beside records and their files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from kits.records import record

from zobench.cli import main
from zobench.errors import ZobenchError
from zobench.report import (
    disk,
    merging,
    options_kept,
    packed,
    packing,
    progress_of_grid,
    running,
    seal,
    store,
    untouched,
)
from zobench.report.running import Claim

OF = {"model": "m", "task": "sst2"}
SCORE = {"metric": "accuracy", "value": 0.5}


def folder_of(path: Path, *records) -> Path:
    for one in records:
        store.write(path, one)
    return path


def with_log(path: Path, *records) -> Path:
    """Records with their side files."""
    for one in records:
        for kind, lies in (("steps", "{}\n"), ("replay", "log"), ("weights", "w"), ("error", "trace")):
            at = getattr(store.files(path, one["id"]), kind)
            at.parent.mkdir(parents=True, exist_ok=True)
            at.write_text(f"{lies} of {one['id']}")
            one["files"][kind] = seal.file_info(at)
    return folder_of(path, *records)


def scored(path: Path, score=SCORE, of=OF, run="r") -> Path:
    untouched.write(untouched.path_of(path, of), of, run, score)
    return untouched.path_of(path, of)


def lying(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_packed_and_loose_folders_become_one_with_all_side_files(tmp_path):
    a = with_log(tmp_path / "a", record(), record(seed=1))
    b = with_log(tmp_path / "b", record(seed=2))
    expected = lying(a) | lying(b)
    packing.pack(a, kinds=packing.WITH, remove=True)
    assert main(["merge", str(a), str(b), "-o", str(tmp_path / "c")]) == 0
    assert (a / packed.RECORDS).exists() and lying(tmp_path / "c") == expected


def test_an_early_record_that_names_no_files_keeps_those_beside_it(tmp_path):
    one = record()
    path = folder_of(tmp_path / "a", one) / "cells" / f"{one['id']}.json"
    early = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("files", seal.KEY)} | {"schema": 1}
    path.write_text(json.dumps(early))
    store.files(tmp_path / "a", one["id"]).steps.write_text("{}\n")
    merging.merge([tmp_path / "a"], tmp_path / "c")
    assert lying(tmp_path / "c") == lying(tmp_path / "a")


def test_scores_of_the_untouched_model_come_along_and_other_ones_are_refused(tmp_path):
    a, b = folder_of(tmp_path / "a", record()), folder_of(tmp_path / "b", record(seed=1))
    shared, own = scored(a), scored(b, of={**OF, "task": "copa"})
    scored(b, run="another")
    merging.merge([a, b], tmp_path / "c")
    assert (tmp_path / "c" / "zero_shot" / shared.name).read_bytes() == shared.read_bytes()
    assert (tmp_path / "c" / "zero_shot" / own.name).read_bytes() == own.read_bytes()
    other = scored(b, {**SCORE, "value": 0.6})
    with pytest.raises(ZobenchError, match="other scores of one untouched model: --prefer"):
        merging.merge([a, b], tmp_path / "d")
    assert not (tmp_path / "d").exists()
    for order in ([a, b], [b, a]):
        out = tmp_path / f"after-{order[0].name}"
        merging.merge(order, out, prefer=b)
        assert (out / "zero_shot" / other.name).read_bytes() == other.read_bytes()
    other.write_text(other.read_text().replace("0.6", "0.7"))
    with pytest.raises(ZobenchError, match="no whole score of the untouched model; delete it"):
        merging.merge([a, b], tmp_path / "d", prefer=a)


def test_a_task_of_own_data_comes_along_and_another_of_its_name_is_refused(tmp_path):
    a, b = folder_of(tmp_path / "a", record()), folder_of(tmp_path / "b", record(seed=1))
    for folder in (a, b):
        disk.write_text(folder / "data" / "own" / "train.jsonl", "{}\n")
        disk.write_text(folder / "data" / "own.toml", "x = 1\n")
    merging.merge([a, b], tmp_path / "c")
    assert (tmp_path / "c" / "data" / "own" / "train.jsonl").read_text() == "{}\n"
    disk.write_text(b / "data" / "own.toml", "x = 2\n")
    with pytest.raises(ZobenchError, match=r"own\.toml: .* another task made of it: --prefer"):
        merging.merge([a, b], tmp_path / "d")
    merging.merge([a, b], tmp_path / "d", prefer=b)
    assert (tmp_path / "d" / "data" / "own.toml").read_text() == "x = 2\n"


def test_options_of_runs_come_along_once_and_name_the_new_folder(tmp_path):
    a, b = folder_of(tmp_path / "a", record()), folder_of(tmp_path / "b", record(seed=1))
    said = {
        a: ['estimator = "mezo"\nresults = "/gone/a"\n', 'estimator = "lozo"\n'],
        b: ['estimator = "mezo"\n\n[set]\n'],
    }
    for folder, texts in said.items():
        for text in texts:
            options_kept.keep(folder, f"# again\n{text}")
    options_kept.keep(b, '# again\nestimator = "lozo"\nresults = "/gone/b"\n')
    merging.merge([a, b], tmp_path / "c")
    where = f'results = "{(tmp_path / "c").absolute()}"\n'
    assert [path.read_text() for path in options_kept.kept(tmp_path / "c")] == [
        f'# again\n{where}estimator = "mezo"\n',
        f'# again\n{where}estimator = "lozo"\n',
        f'# again\n{where}estimator = "mezo"\n\n[set]\n',
    ]


def test_cells_that_were_begun_go_on_in_the_new_folder_and_those_that_run_are_told(tmp_path, capsys):
    made = [record(seed=seed) for seed in range(4)]
    a, b = folder_of(tmp_path / "a", made[0]), folder_of(tmp_path / "b", made[1])
    plan = [{"id": r["id"], **{k: r["cell"][k] for k in ("task", "estimator", "selector", "seed")}} for r in made]
    for folder, long in ((a, "longer"), (b, "short")):
        progress_of_grid.plan(folder, plan)
        for one in (made[0], made[2], made[3]):
            (folder / "running" / f"{one['id']}.journal").write_text(long)
            (folder / "running" / f"{one['id']}.{folder.name}.weights.safetensors").write_text(long)
    (b / "running" / f"{made[2]['id']}.claim-0").write_text(
        json.dumps({"host": "here", "machine": disk.machine(), "pid": 2**22 + 1, "born": "1"})
    )
    claim = Claim.take(a / "running", made[3]["id"])
    assert main(["merge", str(a), str(b), "-o", str(tmp_path / "c")]) == 0
    claim.release()
    assert f"{made[3]['id']} runs there now" in capsys.readouterr().err
    begun = made[2]["id"]
    names = {path.name for path in running.files(tmp_path / "c" / "running") if path.suffix != ".planned"}
    assert names >= {f"{begun}.journal", f"{begun}.a.weights.safetensors"} and f"{begun}.claim-0" not in names
    assert (tmp_path / "c" / "running" / f"{begun}.journal").read_text() == "longer"
    assert not any(name.startswith(made[0]["id"]) for name in names), "it is done"
    found = progress_of_grid.look(tmp_path / "c")
    assert set(found.left) == {made[2]["id"], made[3]["id"]} and begun in found.begun


def test_the_board_of_the_new_folder_is_that_of_the_folders_together(tmp_path, capsys):
    a = folder_of(tmp_path / "a", record(), record("lozo", test=70))
    b = folder_of(tmp_path / "b", record(seed=1), record("lozo", seed=1, test=72))
    packing.pack(a, remove=True)
    board = tmp_path / "board.md"
    assert main(["leaderboard", str(a), str(b), "--out", str(board)]) == 0
    capsys.readouterr()
    assert main(["merge", str(a), str(b), str(a), "-o", str(tmp_path / "c")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'c'}: 4 records, 2 of {a}, 2 of {b}\n", "a folder counts once"
    assert main(["leaderboard", str(tmp_path / "c"), "--check", "--out", str(board)]) == 0
    board.write_text(board.read_text() + os.linesep)
    assert main(["leaderboard", str(tmp_path / "c"), "--check", "--out", str(board)]) == 1


def test_options_of_earlier_runs_get_the_next_number(tmp_path: Path):
    for text in ("a", "a", "b", "c", "d"):
        options_kept.keep(tmp_path, text)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "run.1.toml": "a",
        "run.2.toml": "b",
        "run.3.toml": "c",
        options_kept.FILE: "d",
    }


def test_options_stand_in_the_order_of_their_runs(tmp_path):
    for number in range(12):
        options_kept.keep(tmp_path, f"seeds = {number}\n")
    assert [path.read_text() for path in options_kept.kept(tmp_path)] == [f"seeds = {n}\n" for n in range(12)]


def test_of_a_cell_that_was_begun_in_two_folders_the_longer_journal_goes_on(tmp_path):
    short, long, begun = (folder_of(tmp_path / name, record(seed=n)) for n, name in enumerate(("s", "l", "x")))
    for folder, text in ((short, "short"), (long, "the longer one")):
        (folder / "running").mkdir(exist_ok=True)
        (folder / "running" / "sst2-mezo-all-s9-0123456789ab.journal").write_text(text)
    for number, folders in enumerate(([short, long], [long, short], [short, begun])):
        merging.merge(folders, tmp_path / f"out{number}")
        (journal,) = (tmp_path / f"out{number}" / "running").glob("*.journal")
        assert journal.read_text() == ("the longer one" if long in folders else "short")
