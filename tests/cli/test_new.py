"""`zobench new`: what it writes loads, and nothing is overwritten."""

from __future__ import annotations

import pytest

from zobench.cli import main
from zobench.cli.new import class_name
from zobench.plugins.registry import load_plugins


@pytest.mark.parametrize("kind", ["estimator", "selector", "task"])
def test_a_new_plugin_loads_and_says_how_to_run_it(kind, tmp_path, capsys):
    assert main(["new", kind, "my_own", "--directory", str(tmp_path / "sub")]) == 0
    out = capsys.readouterr().out
    path = tmp_path / "sub" / "my_own.py"
    assert f"zobench show {kind} my_own --plugin {path}" in out and f"zobench run --plugin {path}" in out
    plugins = load_plugins([path], only="")
    thing = getattr(plugins, kind)("my_own")
    assert thing.name == "my_own" if kind == "task" else thing.__name__ == "MyOwn"
    assert "$" not in path.read_text()
    assert main(["show", kind, "my_own", "--plugin", str(path)]) == 0


def test_a_new_estimator_passes_the_checks(tmp_path):
    from zobench.testing import check_estimator

    assert main(["new", "estimator", "my_zo", "--directory", str(tmp_path)]) == 0
    cls = load_plugins([tmp_path / "my_zo.py"], only="").estimator("my_zo")
    check_estimator(cls, engines=["flat"], problems=["mlp"])


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "mine.toml").write_text("mine")
    assert main(["new", "task", "mine", "--directory", str(tmp_path)]) == 2
    assert "mine.toml exists already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"] and (
        tmp_path / "mine.toml"
    ).read_text() == "mine"


@pytest.mark.parametrize("name", ["My", "a-b", "1a", "../x", "", "a.py"])
def test_names_that_cannot_be(name, tmp_path, capsys):
    assert main(["new", "selector", "--directory", str(tmp_path), "--", name]) == 2
    assert "cannot be the name of a new selector" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["new", "selector", "mine", "--directory", str(tmp_path / "file" / "sub")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_names_of_classes():
    assert class_name("my_zo", "estimator") == "MyZo"
    assert class_name("selector", "selector") == "SelectorSelector"


@pytest.mark.parametrize("there", ["mine.py", "mine.toml", "mine"])
def test_a_new_task_of_a_file_overwrites_nothing(there, tmp_path, capsys):
    data = tmp_path / "reviews.csv"
    data.write_text("text,label\n" + "".join(f"word {n},{'good' if n % 2 else 'bad'}\n" for n in range(40)))
    (tmp_path / there).write_text("mine")
    line = ["new", "task", "mine", "--from", str(data), "--text", "text", "--label", "label"]
    assert main([*line, "--directory", str(tmp_path)]) == 2
    assert f"{there} exists already" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([there, "reviews.csv"])
