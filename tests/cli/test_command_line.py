"""The frame of the command line: exit statuses, one-line errors, help with examples."""

from __future__ import annotations

import json

import pytest
import typer

import zobench.cli
from zobench import __version__
from zobench.cli import COMMANDS, Command, main
from zobench.errors import ZobenchError


@pytest.fixture
def command(monkeypatch):
    """Put a function behind `zobench plugins`."""

    def put(function):
        monkeypatch.setitem(COMMANDS, "plugins", Command("unused:unused", "help", ("zobench plugins",)))
        monkeypatch.setattr(zobench.cli.Command, "load", lambda self: function)

    return put


def fail(error: BaseException):
    def function() -> None:
        raise error

    return function


def test_a_zobench_error_is_one_line_and_2(command, capsys):
    command(fail(ZobenchError("no such\n  thing")))
    assert main(["plugins"]) == 2
    assert capsys.readouterr() == ("", "zobench: error: no such thing\n")


def test_an_interrupt_is_130(command, capsys):
    command(fail(KeyboardInterrupt()))
    assert main(["plugins"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(command):
    command(fail(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        main(["plugins"])


@pytest.mark.parametrize("function", [fail(typer.Exit(1)), lambda: 1])
def test_a_status_that_a_command_gives(command, function):
    command(function)
    assert main(["plugins"]) == 1


def test_nothing_to_say_is_0(command):
    command(lambda: None)
    assert main(["plugins"]) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("plugns", "No such command 'plugns'"),
        ("--nonsense", "No such option"),
        ("plugins --nonsense", "No such option"),
        ("plugins surplus", "unexpected extra argument"),
        ("ls nonsense", "nonsense"),
        ("show estimator", "Missing argument"),
        ("run", "Missing option '--estimator'"),
    ],
)
def test_wrong_usage_is_one_line_and_2(capsys, line, message):
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith("zobench: error: ") and message in err and " --help)" in err


def test_a_group_without_its_subcommand_shows_its_help(capsys):
    assert main(["analyze"]) == 2
    assert "activations" in capsys.readouterr().err


def test_no_arguments_show_the_help_with_every_command(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name} " in out and command.help in out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"zobench {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_its_examples_one_a_line(capsys, name):
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Examples:\n" in out
    for example in COMMANDS[name].examples:
        assert f"    {example}\n" in out
        assert f"zobench {name}" in example


def test_a_missing_plugin_file_and_unknown_names(capsys, tmp_path):
    for line, message in {
        "ls --plugin nowhere.py": "no plugin file 'nowhere.py'",
        "show estimator mzo": "unknown estimator 'mzo'; did you mean 'mezo'",
        "show selector first_outlir": "did you mean 'first_outlier'? (see: zobench ls selectors)",
        "show task sst": "unknown task 'sst'; did you mean 'sst2'",
        "show estimator mezo --model x": "--model and --data-dir are for `zobench show task`",
        f"show task sst2 --data-dir {tmp_path}/none": "there is no such folder",
    }.items():
        assert main(line.split()) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1, err


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
        "hooks": ["zobench_estimators"],
        "error": None,
    }
    assert main(["plugins"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "DISTRIBUTION", "VERSION", "HOOKS", "ERROR"]
    assert [line.split()[0] for line in lines[1:]] == list(found)
