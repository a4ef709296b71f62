"""What a cell's identity knows of code that is not zobench's own, and what no record knows: secrets."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from kits.run_kit import World, plan, plugin_file, run

from zobench.cli import main
from zobench.plugins.registry import load_plugins
from zobench.protocol import cell as cell_module
from zobench.report import store
from zobench.report.identity import cell_id
from zobench.report.leaderboard import render

LAB = """
    from zobench import hookimpl
    from zobench_plugins.estimators.mezo import MeZO

    class Lab(MeZO):
        api_key: str = ""
        fails: bool = False

        def iterate(self, losses):
            if self.fails:
                raise ValueError(f"401: {self.api_key} at https://me:pass-word-1@host/x with hf_" + 20 * "a")
            z = self.noise()
            plus, minus = losses(self.eps * z, -self.eps * z)
            self.descend((plus - minus) / (2 * self.eps) * z)
            return plus

    @hookimpl
    def zobench_estimators():
        return {"lab": Lab}
"""


def test_an_edited_plugin_is_not_done_before_and_the_old_record_is_told_of(world: World, tmp_path: Path, capsys):
    results = tmp_path / "r"
    path = plugin_file(tmp_path, LAB)
    (first,) = run(world, results, ["lab"], plugins=load_plugins([path]))
    (same, _) = plan(world, results, ["lab"], plugins=load_plugins([path]))
    assert not same.todo and set(first["cell"]["code"]) == {path.name}
    path.write_text(path.read_text().replace("self.descend((plus", "self.descend(-(plus"))
    capsys.readouterr()
    (edited, _) = plan(world, results, ["lab", "mezo"], plugins=load_plugins([path]))
    assert [c.estimator for c in edited.todo] == ["lab", "mezo"] and not edited.done
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"zobench: warning: {path.name} changed since {first['id']} ran")
    assert [c.code for c in edited.todo][1] == {}
    (second,) = run(world, results, ["lab"], plugins=load_plugins([path]))
    assert second["id"] != first["id"] and second["metrics"] != {}
    rows = [line for line in render(store.read(results)[0]).splitlines() if line.startswith(f"| lab ({path.name}=")]
    assert {row.split("|")[1] for row in rows} == {
        f" lab ({path.name}={one['cell']['code'][path.name][:8]}) " for one in (first, second)
    }


def test_replay_wants_the_code_of_then(world: World, tmp_path: Path, capsys):
    path = plugin_file(tmp_path, LAB)
    (one,) = run(world, tmp_path / "r", ["lab"], plugins=load_plugins([path]))
    words = ["replay", str(tmp_path / "r"), one["id"], "--model", str(world.model), "--out", str(tmp_path / "w.st")]
    words += ["--plugin", str(path), "--device", "cpu", "--offline"]
    assert main(words) == 0
    path.write_text(path.read_text() + "\n")
    capsys.readouterr()
    assert main(words) == 2
    assert f"the code of {path.name} was {one['cell']['code'][path.name]} then" in capsys.readouterr().err


def test_built_ins_have_no_digest_and_numerics_only_above_the_first(world: World, tmp_path: Path, monkeypatch):
    (before, _) = plan(world, tmp_path, ["mezo"])
    (cell,) = before.todo
    assert not {"code", "numerics"} & set(cell.key())
    old = cell.id
    monkeypatch.setattr(cell_module, "NUMERICS", 2)
    assert cell.key()["numerics"] == 2 and replace(cell).id != old


def test_a_raised_numerics_of_a_selector_is_in_its_cells_alone(world: World, tmp_path: Path, monkeypatch):
    (before, _) = plan(world, tmp_path, ["mezo", "zero_shot"], ["all", "layer"], layer__index=1)
    monkeypatch.setattr(load_plugins().selector("layer"), "numerics", 3)
    (after, _) = plan(world, tmp_path, ["mezo", "zero_shot"], ["all", "layer"], layer__index=1)
    told = {(c.estimator, c.selector): c.key().get("numerics") for c in after.todo}
    assert told == {("mezo", "all"): None, ("mezo", "layer"): 3, ("zero_shot", "-"): None}
    same = {c.id for c in before.todo} & {c.id for c in after.todo}
    assert same == {c.id for c in before.todo if c.selector != "layer"}


def test_numerics_are_raised_where_settings_say_so_alone():
    class Changed:
        numerics = 3
        numerics_where = {"looks": "two_sided"}

    raised = cell_module.raised
    assert (raised(Changed, {"looks": "two_sided", "eps": 1}), raised(Changed, {"looks": "one_sided"})) == (2, 0)


def test_a_changed_numerics_is_told_of(world: World, tmp_path: Path, monkeypatch, capsys):
    run(world, tmp_path, ["zero_shot"])
    monkeypatch.setattr(cell_module, "NUMERICS", 2)
    capsys.readouterr()
    (after, _) = plan(world, tmp_path, ["zero_shot"])
    assert len(after.todo) == 1
    assert "zobench changed since sst2-zero_shot-" in capsys.readouterr().err


@pytest.mark.parametrize("fails", [False, True])
def test_no_secret_reaches_a_record_a_log_or_a_traceback(world: World, tmp_path: Path, monkeypatch, capsys, fails):
    monkeypatch.setenv("HF_TOKEN", "env-secret-7")
    results = tmp_path / "r"
    path = plugin_file(tmp_path, LAB)
    sets = [
        "num_train=12",
        "num_dev=6",
        "num_test=5",
        "speed_steps=0",
        "lab.api_key=set-secret-7",
        f"lab.fails={fails}",
    ]
    words = ["run", "-e", "lab", "-t", "sst2", "--model", str(world.model), "--data-dir", str(world.data)]
    words += ["--steps", "4", "--lr", "1e-3", "--results", str(results), "--plugin", str(path), "--offline"]
    words += [word for one in sets for word in ("--set", one)]
    monkeypatch.setattr("sys.argv", ["zobench", *words, "--note", "env-secret-7"])
    assert main(words) == (1 if fails else 0)
    said = capsys.readouterr()
    written = [p for p in results.rglob("*") if p.is_file()]
    texts = [said.out, said.err, *(p.read_bytes().decode("latin-1") for p in written)]
    for secret in ("env-secret-7", "set-secret-7", "pass-word-1", "hf_aaaa"):
        assert not [text for text in texts if secret in text]
    (record,), problems = store.read(results)
    assert not problems and record["cell"]["estimator_settings"]["api_key"] == "[redacted]"
    assert "lab.api_key=[redacted]" in record["environment"]["command"]
    assert (record["status"] == "error") == fails
    assert json.dumps(record["cell"]).count("[redacted]") == 1


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ("-", "none"),
        ("layer:1+first_outlier", "layer=1+first_outlier"),
        ("only:a b/c\u00e9", "only=a_b_c_"),
        ("s" * 60, "s" * 60),
        ("s" * 61, "s" * 60),
    ],
)
def test_an_id_is_names_the_seed_and_a_hash_of_all_that_changes_a_number(selector, said):
    cell, protocol = {"task": "sst2", "estimator": "mezo", "selector": selector, "seed": 3, "lrs": [1e-3]}, {"steps": 9}
    name, _, digest = cell_id(cell, protocol).rpartition("-")
    assert name == f"sst2-mezo-{said}-s3"
    text = f'{{"cell": {{"estimator": "mezo", "lrs": [0.001], "seed": 3, "selector": {json.dumps(selector)}, '
    text += '"task": "sst2"}, "protocol": {"steps": 9}}'
    assert digest == hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
