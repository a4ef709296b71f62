"""What the record of a cell says."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace

from kits.run_kit import (
    LAYERS,
    on_disk,
    run,
)


def test_a_finished_cell_is_a_whole_record(world, tmp_path):
    (record,) = run(world, tmp_path, ["mezo"], ["layer"], lrs=(1e-3, 1e-2), layer__index=1)
    assert record["status"] == "ok" and record["error"] is None
    assert on_disk(tmp_path, record) == json.loads(json.dumps(record))
    assert [t["lr"] for t in record["trials"]] == [1e-3, 1e-2] == record["cell"]["lrs"]
    assert [[step for step, _ in t["curve"]] for t in record["trials"]] == [[2, 4], [2, 4]]
    tried = [(loss, t["lr"], step) for t in record["trials"] for step, loss in t["curve"]]
    assert (record["chosen"]["lr"], record["chosen"]["step"]) == min(tried)[1:]
    assert record["metrics"]["dev"]["loss"] == min(tried)[0]
    assert {name: score["n"] for name, score in record["metrics"].items()} == {"dev": 6, "test": 5, "zero_shot": 5}
    assert record["scope"]["layers"] == [1] and 0 < record["scope"]["fraction"] < 1 / LAYERS
    assert record["data"]["sizes"] == {"train": 12, "dev": 6, "test": 5}
    files = sorted(p.name.removeprefix(record["id"]) for p in (tmp_path / "cells").iterdir())
    assert files == [".json", ".replay.bin", ".steps.jsonl"]
    curve = [json.loads(line) for line in (tmp_path / "cells" / f"{record['id']}.steps.jsonl").open()]
    assert {(line["lr"], line["step"]) for line in curve if "dev_loss" in line} == {(lr, s) for _, lr, s in tried}


def test_a_step_is_timed_by_its_parts(world, tmp_path):
    (record,) = run(world, tmp_path, ["mezo"], ["layer"], layer__index=1, speed_steps=0)
    parts = [record["time"][name] for name in ("forward_s", "perturb_s", "update_s")]
    assert min(parts) > 0 and record["time"]["step_s"] >= max(parts)


def test_a_record_says_which_test_items_are_of_one_text(world, tmp_path):
    """Of SQuAD's eight items to test on three are of a text that another has; sst2 asks one thing of a sentence."""
    lines = (world.data / "squad" / "validation.jsonl").read_text().splitlines()
    shared = [json.loads(line) | {"context": f"The film won prize {24 + i}. {i % 5}"} for i, line in enumerate(lines)]
    for i, item in enumerate(shared):
        item["context"] = shared[i % 5]["context"]
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    (data / "squad" / "validation.jsonl").write_text("".join(json.dumps(item) + "\n" for item in shared))
    records = run(
        replace(world, data=data), tmp_path / "runs", ["zero_shot", "mezo"], tasks=("squad", "sst2"), num_test=8
    )
    of = {(r["cell"]["task"], r["cell"]["estimator"]): r for r in records}
    made = of["squad", "mezo"]["metrics"]["test"]["clusters"]
    assert len(made) == 8 and sorted(Counter(made).values()) == [1, 1, 2, 2, 2] and set(made) == set(range(5))
    assert of["squad", "zero_shot"]["metrics"]["test"]["clusters"] == made
    assert of["squad", "mezo"]["metrics"]["zero_shot"]["clusters"] == made
    assert (
        "clusters" not in of["squad", "mezo"]["metrics"]["dev"]
        and "clusters" not in of["sst2", "mezo"]["metrics"]["test"]
    )
    assert on_disk(tmp_path / "runs", of["squad", "mezo"])["metrics"]["test"]["clusters"] == made


def test_a_record_says_what_is_not_verified(world, tmp_path):
    verified, guessed = run(world, tmp_path, ["mezo", "agzo"], ["random_layers"])
    assert verified["status"] == guessed["status"] == "ok"
    assert (verified["unverified"], guessed["unverified"]) == (["random_layers"], ["agzo", "random_layers"])
    (plain,) = run(world, tmp_path, ["mezo"], ["all"])
    assert "unverified" not in plain


def test_a_sum_is_verified_where_its_parts_are(world, tmp_path):
    sure, guessed = run(world, tmp_path, ["mezo"], ["layer:0+layer:1", "layer:0+random_layers"])
    assert "unverified" not in sure and guessed["unverified"] == ["layer:0+random_layers"]


def test_a_record_says_what_the_last_block_passed_over(world, tmp_path):
    for parameterisation, said in (("full", "answers"), ("prefix", None)):
        told = {"layer__index": LAYERS - 1, "parameterisation": parameterisation}
        (record,) = run(world, tmp_path / parameterisation, ["mezo"], ["layer"], **told)
        assert record["status"] == "ok" and record["engine"].get("last_block") == said


def test_a_record_says_how_much_state_a_method_keeps(world, tmp_path):
    (record,) = run(world, tmp_path, ["zo_adam"], ["layer"], layer__index=1)
    beyond = record["memory"]["state_bytes"] - 2 * 4 * record["scope"]["parameters"]
    assert 0 <= beyond <= 16 * record["scope"]["tensors"], "two moments, and a number a tensor"
