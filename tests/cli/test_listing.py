"""`zobench ls` and `zobench show`: built-ins, a broken plugin, a clash, and descriptions without an import."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from kits.plugin_kit import Install, installer
from kits.task_kit import task

from zobench import __version__
from zobench.cli import main, read_source
from zobench.cli.read_source import setting_notes, summarise
from zobench.plugins.registry import load_plugins
from zobench.settings import settings_of

LOCAL = '''
"""Mine."""
from typing import ClassVar, Literal
from zobench import Natural, Selector, hookimpl

class Base(Selector):
    start: Natural = 0

class Mine(Base):
    """The first line.

    The rest.
    """

    reference: ClassVar[str] = "A paper"
    mode: Literal["a", "b"] = "a"
    """Which of
    the two."""
    index: tuple[int, ...] = (1, 2)
    limit: float | None = None
    _private: int = 3

def load(*, dtype, device):
    """A model."""

@hookimpl
def zobench_selectors():
    return {"mine": Mine}

@hookimpl
def zobench_models():
    return {"tiny": load}
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    return installer(tmp_path, monkeypatch)


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ZOBENCH_PLUGINS", "")
    path = tmp_path / "mine.py"
    path.write_text(LOCAL)
    return str(path)


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, object]]:
    assert main(["ls", *arguments, "--json"]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def test_ls_has_every_builtin_described(capsys, monkeypatch):
    monkeypatch.setenv("ZOBENCH_PLUGINS", "")
    rows = listed(capsys)
    assert {"mezo", "first_outlier", "sst2", "local"} <= set(rows)
    assert all(
        row["description"] and row["error"] is None and row["distribution"] == "zobench" for row in rows.values()
    )
    assert rows["mezo"]["kind"] == "estimator" and rows["sst2"]["settings"] is None


def test_ls_prints_a_table_a_kind(capsys, local):
    assert main(["ls", "--plugin", local]) == 0
    out = capsys.readouterr().out
    assert [word for word in out.split() if word.isupper() and word.endswith("S")].count("SETTINGS") == 4
    assert "\nmine" in out and "The first line." in out and "The rest" not in out
    assert all(line == line.rstrip() for line in out.splitlines())
    assert main(["ls", "models"]) == 0
    assert capsys.readouterr().out.startswith("NAME")


def test_ls_of_one_kind_of_a_local_file(capsys, local):
    rows = listed(capsys, "selectors", "--plugin", local)
    assert rows["mine"] | {"version": "?"} == {
        "kind": "selector",
        "name": "mine",
        "description": "The first line.",
        "settings": 4,
        "error": None,
        "plugin": "mine",
        "distribution": local,
        "version": "?",
    }
    assert "mezo" not in rows
    assert listed(capsys, "models", "--plugin", local)["tiny"]["description"] == "A model."


def test_what_the_source_says_is_what_the_class_says():
    plugins = load_plugins(only="")
    for kind in ("estimators", "selectors", "directions", "transforms"):
        for name in plugins.names(kind):
            summary = summarise(plugins.offer(kind, name))
            cls = plugins.get(kind, name)
            assert isinstance(cls, type)
            assert summary.settings == len(settings_of(cls)), name
            assert cls.__doc__ and cls.__doc__.startswith(summary.text) and summary.text, name
            assert set(setting_notes(cls)) <= set(settings_of(cls)), name


def test_ls_marks_a_clash_and_a_name_that_leads_nowhere(install, capsys, monkeypatch):
    source = """
        from zobench import Selector, hookimpl
        class First(Selector):
            "First."
        @hookimpl
        def zobench_selectors():
            return {"layer": First, "lost": "not_a_module_xyz:X", "gone": "other_module:X"}
    """
    install("other", source)
    monkeypatch.setenv("ZOBENCH_PLUGINS", "other")
    assert main(["ls", "selectors"]) == 0
    out = capsys.readouterr().out
    assert out.count("\nlayer ") == 2
    assert (
        "First. [clashes with plugin 'selectors' (zobench" in out and "[clashes with plugin 'other' (other 1.0)]" in out
    )
    assert "'not_a_module_xyz:X' cannot be described: LookupError: no source of module not_a_module_xyz" in out
    assert "'other_module:X' cannot be described: LookupError: no class or function X in other_module" in out


def test_plugins_shows_why_one_did_not_load_and_ls_warns(install, capsys, monkeypatch):
    install("broken", "import not_a_module_xyz")
    monkeypatch.setenv("ZOBENCH_PLUGINS", "broken")
    assert main(["plugins"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and "ModuleNotFoundError: No module named 'not_a_module_xyz' (broken_module.py:1)" in out
    assert main(["ls", "selectors"]) == 0
    out, err = capsys.readouterr()
    assert "first_outlier" in out and err.count("\n") == 1 and "plugin 'broken' (broken 1.0) could not be loaded" in err


def test_show_a_selector(capsys, local):
    assert main(["show", "selector", "mine", "--plugin", local]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: " ".join(line.split()) for line in out.splitlines() if line}
    assert rows["reference"] == "reference A paper"
    assert rows["source"] == f"source {local}"
    assert "The rest." in out
    assert rows["start"] == "start a whole number at least 0 0 --set mine.start=..."
    assert rows["mode"] == "mode one of a|b a --set mine.mode=... Which of the two."
    assert rows["index"] == "index comma-separated, each a whole number 1,2 --set mine.index=..."
    assert rows["limit"] == "limit a number or none none --set mine.limit=..."
    assert "_private" not in out


def test_show_a_model(capsys, local):
    """What it can do is measured on it, so a function that gives no model is told of."""
    assert main(["show", "model", "tiny", "--plugin", local]) == 2
    assert "returned NoneType, not a zobench.LoadedModel" in capsys.readouterr().err
    assert main(["show", "model", "embedded"]) == 0
    out = capsys.readouterr().out
    said = {line[:16].strip(): " ".join(line[16:].split()) for line in out.splitlines() if line[:1].strip()}
    assert said["class"] == "LlamaForCausalLM" and said["causal"] == "yes" and said["decoder blocks"] == "8"
    assert said["packed rows"] == "yes, the last block at answers alone" and said["line break"] == "yes"
    assert "zobench_world/model.py" in out, "where it is registered, and made"


def test_show_what_has_no_settings(capsys):
    assert main(["show", "selector", "all"]) == 0
    assert capsys.readouterr().out.endswith("no settings\n")


def test_show_an_estimator(capsys):
    assert main(["show", "estimator", "mezo"]) == 0
    out = capsys.readouterr().out
    assert "arXiv:2305.17333" in out and "zobench_plugins/estimators/mezo.py" in out
    assert "--set mezo.eps=..." in out and "a number above 0" in out


def card(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, str]:
    """The lines of a card up to the description, by their first words."""
    assert main(["show", *words]) == 0
    lines = capsys.readouterr().out.partition("\n\n")[0].replace("\n    ", "\n\n").splitlines()
    return {line.split("  ")[0]: line.split("  ", 1)[1].strip() for line in lines if "  " in line and line[0] != " "}


def test_the_card_of_an_estimator_has_its_facts(capsys):
    lozo = card(capsys, "estimator", "lozo")
    assert lozo["reference"].startswith("Chen et al. 2024") and lozo["public code"].startswith("optsuite/LOZO")
    assert lozo["forwards"].startswith("2 a step") and lozo["extra"] == "no forwards on further batches"
    assert lozo["state"].startswith("0 bytes") and lozo["moves"] == "weights" and lozo["verified"].startswith("yes")
    assert lozo["lr"] == "1e-7, 1e-6; small runs: 5e-5, 0.00025"
    svrg = card(capsys, "estimator", "mezo_svrg")
    assert svrg["extra"].startswith("31 forwards a step") and svrg["state"].startswith("8 bytes")
    assert card(capsys, "estimator", "lozo_m")["state"].startswith(
        "0.0078; vectors 4 bytes"
    )  # 4 (4096 + 4096) / 4096^2
    assert card(capsys, "estimator", "sparse_mezo")["verified"].startswith("no")
    assert card(capsys, "estimator", "lora_zo")["moves"] == "LoRA"
    shot = card(capsys, "estimator", "zero_shot")
    assert shot["moves"] == "nothing" and "forwards" not in shot and "state" not in shot


def test_every_builtin_says_where_it_is_from():
    plugins = load_plugins(only="")
    for kind in ("estimators", "selectors"):
        for name in plugins.names(kind):
            cls = plugins.get(kind, name)
            assert {"reference", "public_code"} <= set(vars(cls)) and cls.reference and cls.public_code, name


def test_ls_as_markdown(capsys, local):
    assert main(["ls", "selectors", "--markdown", "--plugin", local]) == 0
    out = capsys.readouterr().out
    assert (
        out.startswith("## Selectors\n")
        and "| `mine` | The first line. | A paper | not declared | - | not declared | not declared |" in out
    )
    assert "Estimators" not in out and "\\|L(theta + eps z_l) - L(theta)\\|" in out
    widths = {line.replace("\\|", "").count("|") for line in out.splitlines() if line.startswith("|")}
    assert widths == {8}
    assert main(["ls", "tasks", "--markdown"]) == 2
    assert "--markdown is for estimators, directions and selectors" in capsys.readouterr().err


def test_show_a_task_with_and_without_an_example(capsys, tmp_path):
    assert main(["show", "task", "sst2"]) == 0
    out = capsys.readouterr().out
    for part in (
        "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c",
        "'terrible', 'great'",
        "accuracy",
        "version",
        "nyu-mll/glue",
    ):
        assert part in out
    assert "example 0" not in out and "--data-dir DIR shows an example" in out
    folder = tmp_path / "sst2"
    folder.mkdir()
    for split in ("train", "validation"):
        (folder / f"{split}.jsonl").write_text(json.dumps({"sentence": "dull . ", "label": 0, "idx": 1}) + "\n")
    assert main(["show", "task", "sst2", "--data-dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "| dull . It was" in out and "option 0: ' terrible'  <- right" in out and "tokens" not in out


def test_tasks_are_summed_up_by_what_makes_them():
    own, made = task("sst2"), "mine.tasks:make"
    assert read_source._task(SimpleNamespace(value=own)).text == f"{own.title} ({own.kind}, {own.metric})"
    assert read_source._task(SimpleNamespace(value=made)).text == "made by mine.tasks:make"


def test_zobench_plugins_variable_with_an_unknown_name(capsys, monkeypatch):
    monkeypatch.setenv("ZOBENCH_PLUGINS", "nonsense")
    assert main(["ls"]) == 2
    assert "ZOBENCH_PLUGINS: unknown plugin 'nonsense'" in capsys.readouterr().err


def test_plugins_as_json_and_as_a_table(capsys, monkeypatch):
    monkeypatch.setenv("ZOBENCH_PLUGINS", "")
    assert main(["plugins", "--json"]) == 0
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert found["estimators"] == {
        "name": "estimators",
        "dist": "zobench",
        "version": __version__,
        "hooks": ["zobench_directions", "zobench_estimators", "zobench_roles"],
        "error": None,
    }
    assert main(["plugins"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "DISTRIBUTION", "VERSION", "HOOKS", "ERROR"]
    assert [line.split()[0] for line in lines[1:]] == list(found)
