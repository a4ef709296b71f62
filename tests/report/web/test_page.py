"""board.html: what it is given, that nothing in it is live or elsewhere, and its size."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from kits.matrix import named
from kits.records import KNOWN, items, record, small_board

from zobench.cli import main
from zobench.report import store
from zobench.report.leaderboard import board
from zobench.report.web import page, payload
from zobench.report.web.again import command


def shown(text: str) -> Any:
    """The data of a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def made(records: Any, losses: Any = lambda record: ()) -> Any:
    return payload.payload(board(records, split_protocols=True, known=KNOWN), losses)


def cells(found: Any) -> list[dict[str, Any]]:
    return [dict(zip(found["columns"], values, strict=True)) for values in found["cells"]]


def test_the_same_records_give_the_same_bytes():
    assert page.render(board(small_board())) == page.render(board(small_board()[::-1]))


def test_a_cell_has_its_score_curves_and_the_items_that_changed():
    before, after = items(50), items(50)
    after[3], after[70] = 0.0, 1.0
    one = record(test=after, zero_shot=before, seed=4)
    (cell,), shared = cells(found := made([one], lambda record: [(1, 0.51239), (2, 0.4)])), found["shared"]
    assert (cell["score"], cell["zero"], cell["seed"], cell["lr"], cell["step"]) == (0.5, 0.5, 4, 1e-3, 75)
    assert cell["items"] == {
        "n": 100,
        "won": 1,
        "lost": 1,
        "first": [[[70, 0, 1, None, None]], [[3, 1, 0, None, None]]],
    }
    assert cell["losses"][1] == [0.5124, 0.4] and json.loads(shared[cell["losses"][0]]) == [1, 2]
    (lr, status, steps, losses), *more = cell["trials"]
    assert (lr, status, losses, len(more)) == (1e-4, "ok", [0.7, 0.6, 0.5, 0.55], 2)
    assert json.loads(shared[steps]) == [25, 50, 75, 100]


def test_a_changed_item_has_what_was_predicted_before_and_after():
    before, after = items(50), items(50)
    after[3], after[70] = 0.0, 1.0
    one = record(test=after, zero_shot=before)
    one["metrics"]["zero_shot"]["predicted"], one["metrics"]["test"]["predicted"] = [0] * 100, [1] * 100
    (cell,) = cells(made([one]))
    assert cell["items"]["first"] == [
        [[70, 0, 1, "candidate 0", "candidate 1"]],
        [[3, 1, 0, "candidate 0", "candidate 1"]],
    ]
    one["data"] = {"answers": [" bad", " good"]}
    one["metrics"]["test"]["predicted"][3] = -1
    (cell,) = cells(made([one]))
    assert cell["items"]["first"] == [[[70, 0, 1, "bad", "good"]], [[3, 1, 0, "bad", "nothing"]]]


def test_a_cell_names_the_fewer_items_and_points_the_more_cells_there_are(monkeypatch):
    at = [(payload.POINTS, payload.ALL_POINTS, n) for n in (0, 1666, 1667, 5000, 10_001)]
    assert [payload._shared(*one) for one in at] == [60, 60, 59, 20, 10]
    monkeypatch.setattr(payload, "ALL_ITEMS", 12)
    monkeypatch.setattr(payload, "ALL_POINTS", 33)
    before, after = items(50), [1 - one for one in items(50)]
    three = [record(test=after, zero_shot=before, seed=seed) for seed in range(3)]
    found = made(three, lambda record: [(n, 0.5) for n in range(40)])
    for cell in cells(found):
        assert (cell["items"]["won"], cell["items"]["lost"]) == (50, 50)
        assert list(map(len, cell["items"]["first"])) == [2, 2], "half of 12 for each kind, of three cells"
        assert len(cell["losses"][1]) == 11


def test_lines_are_those_of_the_first_screen():
    (section,) = made(small_board())["sections"]
    rows = {row["name"]: row for row in section["rows"]}
    assert rows["mezo / layer"]["rank"] == "1" and rows["mezo / layer"]["verdict"] == "better"
    assert rows["mezo / layer"]["speedup"] == pytest.approx(6) and rows["mezo / layer"]["ms"] == pytest.approx(4)
    assert rows["adamw / all"]["reference"] and rows["lozo / all"]["average"] is None
    names = section["grid"]["names"]
    (pair,) = [c for c in section["grid"]["cells"] if {names[c[0]], names[c[1]]} == {"mezo / all", "mezo / layer"}]
    better = pair[2] if names[pair[0]] == "mezo / layer" else pair[4]
    assert better == 1 and sum(pair[2:]) == 2


def test_a_row_has_all_numbers_of_its_line():
    cells = [record("lozo", "layer", test=80 + k, ms=10.0 * (k + 1), seed=k) for k in range(2)]
    for k, one in enumerate(cells):
        one["scope"]["fraction"] = 0.2 + 0.1 * k  # type: ignore[index]
        one["memory"]["peak_bytes"], one["time"]["train_s"] = 1000 + k, 3.0 + k
    (section,) = made(cells)["sections"]
    (row,) = section["rows"]
    assert row["half"] > 0 and row["scores"]["sst2"] == [pytest.approx(0.805), row["half"]]
    numbers = ("share", "ms", "bytes", "seconds", "average", "gain", "forwards", "speedup", "control", "p", "rank")
    want = [0.3, 15.0, 1001, 3.5, 0.805, 0.305, 200, 2.0, None, None, None]
    assert [row[name] for name in numbers] == [None if x is None else pytest.approx(x) for x in want]
    assert (row["name"], row["method"], row["scope"], row["reference"]) == ("lozo / layer", "lozo", "layer", False)


def test_a_cell_has_all_numbers_of_its_record():
    one = record("lozo", "layer", "copa", 3, test=items(81), zero_shot=items(52), ms=7.0, speedup=3.0)
    one["metrics"]["dev"] = {**one["metrics"]["test"], "value": 0.77, "loss": 0.5}
    one["engine"] = {"engine": "pair"}
    one["forwards"] |= {"extra": 40}
    (cell,) = cells(made([one]))
    names = (
        "task",
        "seed",
        "status",
        "engine",
        "steps",
        "score",
        "metric",
        "percent",
        "zero",
        "dev",
        "lr",
        "step",
        "ms",
    )
    want = ["copa", 3, "ok", "pair", 100, 0.81, "accuracy", True, 0.52, 0.77, 1e-3, 75, 7.0]
    assert [cell[name] for name in names] == want
    names = ("seconds", "bytes", "speedup", "forwards", "error", "layers")
    assert [cell[name] for name in names] == [1.0, 3 * 2**20, 3.0, 640, None, [1]]
    assert cell["stderr"] == pytest.approx(one["metrics"]["test"]["stderr"])
    (other,) = cells(made([record(test=[-2.5, -1.5], metric="log_prob", zero_shot=[-3.0, -2.0])]))
    assert (other["score"], other["metric"], other["percent"]) == (-2.0, "log_prob", False)


def test_swept_layers_make_a_heat_map():
    swept = [record("mezo", f"layer:{n}", test=items(60 + n)) for n in range(3)]
    for n, one in enumerate(swept):
        one["scope"]["layers"] = [n]  # type: ignore[index]
    (section,) = made(swept)["sections"]
    assert [(one["block"], one["score"]) for one in section["layers"]] == [(0, 0.60), (1, 0.61), (2, 0.62)]
    assert made(small_board())["sections"][0]["layers"] == []


def test_curves_keep_their_ends_and_get_shorter_the_more_cells_there_are():
    curve = [(n, float(n)) for n in range(1000)]
    few = payload.thin(curve, 60)
    assert len(few) == 60 and few[0] == (0, 0.0) and few[-1] == (999, 999.0)
    assert payload.thin(curve[:5], 60) == curve[:5]


HOSTILE = "</script><img src=x onerror=alert(1)><!-- `*_|"


def test_nothing_that_records_say_is_live():
    bad = record(test=items(60), settings={HOSTILE: HOSTILE}, model=HOSTILE, lrs=(1e-3,))
    bad["environment"]["platform"] = HOSTILE
    failed = record("lozo", status="error", error=HOSTILE, model=HOSTILE)
    text = page.render(board([bad, failed], problems=[HOSTILE]))
    ours = re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.DOTALL)  # without the libraries
    assert "<img" not in ours and "onerror" in ours and text.count("</script>") == text.count("<script")
    data = shown(text)
    assert data["sections"][0]["model"] == HOSTILE, "and it is shown as it is"
    assert {cell["error"] for cell in cells(data)} == {None, HOSTILE}


def test_columns_that_nothing_was_measured_for_are_left_out():
    made = [record(estimator, test=items(n), speedup=None) for estimator, n in (("mezo", 80), ("lozo", 70))]
    for one in made:
        one["memory"] = {}
    heads = page.render(board(made)).split("</thead>")[0]
    assert ">ms/step<" in heads and ">speed-up<" not in heads and ">MiB<" not in heads
    heads = page.render(board([*made, record("hizoo", speedup=2.0)])).split("</thead>")[0]
    assert ">speed-up<" in heads and ">MiB<" in heads


def test_it_asks_nothing_of_a_network():
    text = page.render(board(small_board()))
    assert "default-src 'none'" in text and "sourceMappingURL" not in text
    ours = re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.DOTALL)
    assert set(re.findall(r'(?:src|href)="([^"]*)"', ours)) == {"data:,", "#cells"}


def test_losses_come_from_logs_beside_and_from_packs(tmp_path: Path):
    one = record()
    lines = ['{"lr": 0.001, "step": 1, "loss": 0.5}', '{"lr": 0.01, "step": 1, "loss": 9}', "half"]
    log = "\n".join([*lines, '{"lr": 0.001, "step": 2, "loss": 0.25}', ""])
    beside = store.files(tmp_path, one["id"]).steps
    beside.parent.mkdir()
    beside.write_text(log)
    from zobench.report.seal import file_info

    one["files"] = {"steps": file_info(beside)}
    store.write(tmp_path, one)
    assert page.losses_of(tmp_path)(one) == [(1, 0.5), (2, 0.25)]
    assert main(["pack", str(tmp_path), "--with", "steps", "--remove"]) == 0
    assert not beside.exists() and page.losses_of(tmp_path)(one) == [(1, 0.5), (2, 0.25)]
    assert page.losses_of(tmp_path)(record(seed=5)) == []


def test_the_command_says_all_that_the_record_knows():
    one = record("lozo", "layer:3", "copa", 7, lrs=(1e-3, 1e-2), settings={"rank": 2}, run={"engine": "flat"})
    words = shlex.split(command(one))
    assert words[:2] == ["zobench", "run"]
    options = dict(zip(words[2::2], words[3::2], strict=True))
    assert options["--estimator"] == "lozo" and options["--selector"] == "layer:3" and options["--seeds"] == "7"
    assert options["--tasks"] == "copa" and options["--lr"] == "0.001,0.01" and options["--engine"] == "flat"
    sets = [b for a, b in zip(words, words[1:], strict=False) if a == "--set"]
    assert "lozo.rank=2" in sets and "protocol.steps=100" in sets and not any("version" in s for s in sets)


def test_the_command_names_the_selector_of_a_setting_and_a_folder_of_data():
    told = {"selector_settings": {"index": [1, 2], "all_but.x": 0.5}, "data": "folder", "lrs": (1.25e-3,)}
    words = shlex.split(command(record("mezo", "layer", **told)))
    assert {"layer.index=1,2", "all_but.x=0.5"} <= set(words) and "--data-dir" in words and "0.00125" in words
    assert "--data-dir" not in command(record())


def test_every_board_has_its_page(tmp_path: Path):
    for one in small_board():
        store.write(tmp_path, one)
    assert main(["leaderboard", str(tmp_path)]) == 0
    assert shown((tmp_path / "board.html").read_text(encoding="utf-8"))["sections"]
    assert (
        main(["leaderboard", str(tmp_path), "--out", str(tmp_path / "b.md")]) == 0 and (tmp_path / "b.html").is_file()
    )
    assert main(["leaderboard", str(tmp_path), "--out", str(tmp_path / "c.md"), "--no-html"]) == 0
    assert not (tmp_path / "c.html").exists()


def size_of(methods: int) -> int:
    """The bytes of a page of so many methods on ten tasks with five seeds, each with a long curve."""
    records = [
        record(f"m{k}", task=f"t{t:02}", seed=s, test=60 + k % 9, settings={"x": k})
        for k in range(methods)
        for t in range(10)
        for s in range(5)
    ]
    made = board(records)
    curve = [(n, 0.123456 + n) for n in range(200)]
    text = page.render(made, lambda record: curve)
    assert len(made.sections[0].records) == 50 * methods
    return len(text.encode())


@pytest.mark.parametrize(
    ("methods", "most"), named([(8, 2_000_000), (100, 5_000_000)], [(8, 2_000_000)]), ids=["400", "5000"]
)
def test_many_records_are_few_megabytes(methods, most):
    assert size_of(methods) < most
