"""The frame of the command line: exit statuses, one-line errors, help with examples."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
import typer
from kits.matrix import named

import zobench.cli
from zobench import __version__
from zobench.cli import COMMANDS, Command, faults, main
from zobench.cli.common import some
from zobench.cli.run_options import _seeds
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


def test_a_bug_is_70_and_one_line_that_names_the_file_of_its_traceback(command, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    command(fail(RuntimeError("a\nbug")))
    assert main(["plugins"]) == 70
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith("zobench: this is a bug in zobench: RuntimeError: a bug (test_command_line.py:")
    (kept,) = tmp_path.iterdir()
    assert str(kept) in err
    assert kept.read_text().startswith("Traceback") and "RuntimeError: a\nbug" in kept.read_text()


@pytest.mark.parametrize(
    "error", [KeyError("x"), AssertionError(), SystemExit(3), RecursionError(), ValueError("\udcff")]
)
def test_whatever_is_raised_is_70(command, capsys, tmp_path, monkeypatch, error):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    command(fail(error))
    assert main(["plugins"]) == 70
    assert capsys.readouterr().err.startswith(f"zobench: this is a bug in zobench: {type(error).__name__}")


def test_a_traceback_that_cannot_be_kept_is_printed(command, capsys, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    command(fail(RuntimeError("a bug")))
    assert main(["plugins"]) == 70
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ZobenchError("a bug")])
def test_debug_prints_the_traceback(command, capsys, tmp_path, monkeypatch, error):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    command(fail(error))
    status = 2 if isinstance(error, ZobenchError) else 70
    assert main(["--debug", "plugins"]) == status
    told = capsys.readouterr().err
    assert told.count("Traceback") == 1 and "a bug" in told.splitlines()[-1]
    monkeypatch.setenv("ZOBENCH_DEBUG", "1")
    assert main(["plugins"]) == status
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("ZOBENCH_DEBUG", "0")
    main(["plugins"])
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 9), "xxxxxxxxx: File name too long"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), "a/b: Permission denied"),
        (MemoryError(), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
    ],
)
def test_what_the_machine_refuses_is_one_line_and_2(command, capsys, error, message):
    command(fail(error))
    assert main(["plugins"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"zobench: error: {message}") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "variable", "asked"),
    [
        (["--debug", "run"], None, True),
        (["--plain", "--debug", "run"], None, True),
        (["run", "--debug"], None, False),
        (["run", "x", "--debug"], "0", False),
        (["run"], "1", True),
        (["run"], "", False),
        ([], None, False),
    ],
)
def test_a_traceback_is_asked_for_before_the_command_or_by_the_environment(words, variable, asked, monkeypatch):
    monkeypatch.delenv(faults.DEBUG_VARIABLE, raising=False)
    if variable is not None:
        monkeypatch.setenv(faults.DEBUG_VARIABLE, variable)
    assert faults.debugging(words) is asked


def test_a_line_has_an_end_and_no_codes_of_a_terminal(command, capsys):
    command(fail(ZobenchError("a\x1b[31m\u2028b" + "c" * 10_000)))
    assert main(["plugins"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("zobench: error: a\\x1b[31m bcc") and err.count("\n") == 1 and len(err) < 2100


def test_words_that_are_no_text_are_refused(capsys):
    assert main(["leaderboard", "runs\udcff"]) == 2
    assert capsys.readouterr().err == (
        "zobench: error: 'runs\\udcff' is no text in UTF-8: rename what it names, or link to it\n"
    )


# ---- another process: its streams


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    words = line.replace("zobench", f"{sys.executable} -m zobench")
    return subprocess.run(
        ["sh", "-c", words], capture_output=True, text=True, timeout=600, env={**os.environ, **environment}
    )


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX")
@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        ("zobench ls </dev/null >/dev/full", 2, "zobench: error: No space left on device\n"),
        ("zobench --help >/dev/full", 2, "zobench: error: No space left on device\n"),
        ("zobench ls >&-", 2, "zobench: error: standard output is closed"),
        ("zobench ls <&- >/dev/null", 0, ""),
        ("zobench ls 2>&- >/dev/null", 0, ""),
        ("zobench ls nonsense 2>&-", 2, ""),
        ("zobench ls nonsense 2>/dev/full", 2, ""),
        ("{ zobench ls; echo status $? >&2; } | true", 0, "status 141\n"),
    ],
)
def test_streams_that_fail(line, status, message):
    if "/dev/full" in line and not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    done = shell(line)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(message) and done.stderr.count("\n") == bool(message)


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX")
@pytest.mark.parametrize(
    "environment",
    named(
        [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
        [{"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ),
    ids=lambda said: min(said),
)
def test_a_page_in_an_encoding_that_lacks_its_letters(environment):
    lines = [["show", "estimator", "sensitive_sparse"], ["ls", "estimators"]]
    code = "import sys; from zobench.cli import main; lines = " + repr(lines)
    code += "; sys.exit([main(line) for line in (*lines, ['show', 'estimator', sys.argv[1]])] == [0, 0, 2] and 2)"
    done = subprocess.run(
        [sys.executable, "-c", code, "Ünknown"], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr and len(done.stdout.splitlines()) > 40
    assert done.stderr.count("\n") == 1 and "nknown" in done.stderr


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


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2"])
def test_a_shard_is_one_of_several(shard, capsys):
    assert main(["run", "-e", "mezo", "--shard", shard]) == 2
    assert "--shard" in capsys.readouterr().err


def test_a_secret_is_in_no_traceback_of_a_bug(command, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    secret = "hf_" + "a1B2c3D4" * 4
    command(fail(RuntimeError(f"the token {secret} is refused")))
    assert main(["plugins"]) == 70
    (kept,) = tmp_path.glob("zobench-bug-*")
    assert "[redacted]" in kept.read_text() and secret not in kept.read_text() + capsys.readouterr().err


def test_a_seed_that_is_named_twice_is_one():
    assert _seeds("0,3,0", "--seeds") == (0, 3) and _seeds(None, "--seeds") == ()


def test_three_names_are_told_and_how_many_more_there_are():
    assert some("abc") == "a, b, c" and some("abcd") == "a, b, c and 1 more" and some(["a"]) == "a"


def test_a_bug_while_a_fault_of_the_machine_is_dealt_with_is_a_bug(command, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    bug = RuntimeError("a bug")
    bug.__context__ = OSError(errno.ENOSPC, "full")
    command(fail(bug))
    assert main(["plugins"]) == 70
