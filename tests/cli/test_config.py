"""`--config`: a file says what options say, is checked as they are, and every run leaves one that repeats it."""

from __future__ import annotations

import tomllib

import pytest

from zobench.cli import _click_command, main
from zobench.cli.run_config import _quoted, as_toml

GRID = """
estimator = ["mezo", "zero_shot"]
selector = "all"
tasks = ["cb", "copa"]
model = "shape:llama2-7b"
seeds = [0, 1]
steps = 100
for-device = "a6000"
dry_run = true

[set]
eps = 1e-2
num_test = 40
eval_every = 50

[set.protocol]
batch_size = 8
"""


@pytest.fixture
def grid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "grid.toml"
    path.write_text(GRID)
    return path


def rows(out: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("| ")][1:]


def test_a_file_says_what_options_say(grid, capsys):
    assert main(["run", "--config", str(grid)]) == 0
    by_file = rows(capsys.readouterr().out)
    words = ["run", "-e", "mezo,zero_shot", "--tasks", "cb,copa", "--model", "shape:llama2-7b", "--seeds", "0,1"]
    words += ["--steps", "100", "--for-device", "a6000", "--dry-run", "--set", "eps=1e-2", "--set", "num_test=40"]
    assert main([*words, "--set", "eval_every=50", "--set", "protocol.batch_size=8"]) == 0
    assert rows(capsys.readouterr().out) == by_file
    assert [(row[0], row[1]) for row in by_file].count(("cb", "mezo")) == 2 and len(by_file) == 6


def test_the_command_line_goes_before_the_file(grid, capsys):
    assert main(["run", "--config", str(grid), "-e", "mezo", "--tasks", "copa", "--set", "num_test=2"]) == 0
    made = rows(capsys.readouterr().out)
    assert [row[:2] for row in made] == [["copa", "mezo"]] * 2
    assert main(["run", "--config", str(grid), "-e", "mezo", "--tasks", "copa"]) == 0
    assert rows(capsys.readouterr().out)[0][-1] != made[0][-1], "fewer items are scored"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("estimater = 'mezo'", "unknown option 'estimater'; did you mean 'estimator'"),
        ("estimator = {a = 1}", "estimator is neither text nor a number"),
        ("estimator = [['mezo']]", "estimator is neither text nor a number nor a list of them"),
        ("estimator = 'mezo'\noffline = 'yes'", "offline is true or false"),
        ("estimator = 'mezo'\npreset = 'huge'", "huge"),
        ("estimator = 'mezo'\nsteps = 0", "steps"),
        ("estimator = 'mezo'\nset = 3", "`set` is no table"),
        ("estimator = 'mezo'\n[set]\nepz = 3", "unknown setting 'epz'"),
        ("estimator = 'mezo'\nestimator = 'lozo'", "this is no TOML"),
        ("estimator = 'mezo'\nconfig = 'b.toml'", "unknown option 'config'"),
        ("tasks = 'sst2'", "estimator"),
        ("x = " + "[" * 5000, "this is no TOML"),
    ],
)
def test_what_is_wrong_in_it_is_one_line(grid, text, says, capsys):
    grid.write_text(text)
    assert main(["run", "--config", str(grid)]) == 2
    out, err = capsys.readouterr()
    assert says in err and err.count("\n") == 1 and not out


def test_a_file_that_is_not_there(tmp_path, capsys):
    assert main(["run", "--config", str(tmp_path / "no.toml")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_every_run_leaves_one_that_repeats_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = ["run", "-e", "zero_shot", "--tasks", "copa", "--set", "num_train=4", "--set", "num_dev=2"]
    line += ["--set", "num_test=3", "--results", "r", "--device", "cpu", "--seeds", "1"]
    assert main(line) == 0
    kept = tmp_path / "r" / "run.toml"
    said = tomllib.loads(kept.read_text())
    assert said["estimator"] == "zero_shot" and said["results"] == str(tmp_path / "r") and said["seeds"] == "1"
    assert said["set"] == {"num_train": "4", "num_dev": "2", "num_test": "3"} and "dry-run" not in said
    before = kept.read_text()
    monkeypatch.chdir("/")
    capsys.readouterr()
    assert main(["run", "--config", str(kept)]) == 0
    assert "0 cells to run, 1 done before" in capsys.readouterr().err
    assert kept.read_text() == before
    assert main(["run", "--config", str(kept), "--seeds", "2"]) == 0
    assert (tmp_path / "r" / "run.1.toml").read_text() == before and 'seeds = "2"' in kept.read_text()


def kept(words: list[str]) -> dict[str, object]:
    """The file that these words of `zobench run` would leave."""
    command = _click_command(["run"]).commands["run"]
    with command.make_context("run", words) as context:
        return tomllib.loads(as_toml(context))


def test_what_is_kept_holds_anywhere_and_says_what_a_run_is(tmp_path, monkeypatch):
    """Paths are whole, secrets are hidden, and what is of one call alone is left out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "env-secret-7")
    (tmp_path / "model").mkdir()
    words = [
        "-e",
        "mezo",
        "--model",
        "model",
        "--data-dir",
        "d",
        "--results",
        "r",
        "--plugin",
        "p.py",
        "--plugin",
        "q.py",
    ]
    of_one_call = ["--shard", "2/4", "--rerun", "failed", "--dry-run", "--for-device", "a6000"]
    said = kept([*words, *of_one_call, "--text", "env-secret-7", "--set", "lab.api_key=env-secret-7"])
    assert {key: said[key] for key in ("model", "data-dir", "results")} == {
        key: str(tmp_path / name) for key, name in (("model", "model"), ("data-dir", "d"), ("results", "r"))
    }
    assert said["plugin"] == [str(tmp_path / "p.py"), str(tmp_path / "q.py")]
    assert not {"shard", "rerun", "dry-run", "for-device"} & set(said)
    assert "env-secret-7" not in str(said)


@pytest.mark.parametrize(
    ("key", "written"),
    [("eps", "eps"), ("run-1_a", "run-1_a"), ("mezo.eps", '"mezo.eps"'), ("a b", '"a b"'), ("", '""')],
)
def test_a_key_is_quoted_where_toml_would_read_it_otherwise(key, written):
    assert _quoted(key) == written
    assert tomllib.loads(f"{_quoted(key)} = 1") == {key: 1}
