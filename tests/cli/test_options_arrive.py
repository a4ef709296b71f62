"""Every option of a command reaches what does the work, as it was given: none is lost on the way."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zobench.cli import _click_command, main
from zobench.run.place import Place
from zobench.run.wish import Wish


@pytest.fixture
def heard(monkeypatch):
    """Put a listener in the place of a function: what it is called with, and what it answers."""
    calls: dict[str, list[Any]] = {}

    def listen(name: str, answer: Any = None) -> list[Any]:
        found = calls.setdefault(name, [])
        monkeypatch.setattr(name, lambda *args, **named: found.append((args, named)) or answer)
        return found

    return listen


def test_of_run(tmp_path, heard):
    seen = heard("zobench.cli.run._run")
    results, plugin = tmp_path / "r", tmp_path / "own.py"
    plugin.write_text("from zobench import hookimpl\n\n@hookimpl\ndef zobench_presets():\n    return {}\n")
    words = (
        "run -e mezo,lozo -s all,layer:0-1 -t sst2,copa -m some/model --seeds 1,2,1 --tune-seeds 7 --split-seeds 3,4"
    )
    words += " --preset smoke --steps 100 --lr 1e-3,1e-2 --set eps=1e-2 --device cuda:1 --dtype bfloat16 --engine flat"
    words += " --jobs 4 --executor local --shard 2/3 --timeout 90s --rerun failed --offline"
    words += f" --device-map none --max-memory 16GB --data-dir {tmp_path} --results {results} --plugin {plugin}"
    assert main(words.split()) == 0
    ((wish, place, plugins, kept, most), named) = seen[0]
    settings = {"eps": "1e-2", "protocol.steps": "100", "run.dtype": "bfloat16", "run.engine": "flat"}
    settings |= {"run.lr": "1e-3,1e-2", "eval_every": "20", "local.jobs": "4"}
    names = (("mezo", "lozo"), ("all", "layer:0", "layer:1"), ("sst2", "copa"))
    assert wish == Wish(*names, (1, 2), "smoke", None, settings, (7,), (3, 4))
    assert place == Place(
        "some/model",
        tmp_path,
        results,
        "cuda:1",
        True,
        "local",
        "failed",
        shard=(2, 3),
        timeout=90.0,
        device_map="none",
    )
    assert (most, named) == ("16GB", {"elsewhere": None, "dry_run": False, "ranks": None})
    assert [Path(file) for file in plugins.files] == [plugin] and 'estimator = "mezo,lozo"' in kept


@pytest.mark.parametrize("command", ["run -e mezo", "reproduce dominant-layer --table 1"])
def test_of_a_plan_for_another_gpu(heard, command, capsys):
    """Its defaults hold, and its map is none of this machine's devices'."""
    seen = heard(f"zobench.cli.{command.split()[0]}.{'_run' if command.startswith('run') else '_carry_out'}")
    words = [*command.split(), "--dry-run", "--for-device", "2xa6000", "--device-map", "balanced"]
    assert main(words) == 0
    (given, named) = seen[0]
    (place,) = (one for one in given if isinstance(one, Place))
    assert (place.device, place.device_map, place.defaults_of) == ("cpu", "auto", "cuda")
    assert named["elsewhere"] == ("2xa6000", "balanced") and named["dry_run"]
    assert main([*words, "--device", "cpu"]) == 2
    assert "--device cpu is here: leave one out" in capsys.readouterr().err


def test_of_run_where_nothing_is_said(heard):
    seen = heard("zobench.cli.run._run")
    assert main(["run", "-e", "mezo"]) == 0
    ((wish, place, _, _, most), named) = seen[0]
    assert wish == Wish(("mezo",), ("all",), ("all",), (0,), "embedded", None, {})
    assert place == Place("embedded", None, Path("runs"), "auto", False, "local", "missing")
    assert (most, named) == (None, {"elsewhere": None, "dry_run": False, "ranks": None})


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("", {}),
        ("--paper", {"paper": True}),
        ("--split-protocols", {"split_protocols": True}),
        ("--family claim", {"family": "claim"}),
        ("--sort time", {"order": "time"}),
        ("--max-memory 16GB", {"most": "16GB"}),
        ("--full", {"full": True}),
        ("--no-html", {"html": False}),
        ("--out OUT", {"asked": True}),
    ],
)
def test_of_leaderboard(tmp_path, heard, words, changes):
    board = SimpleNamespace(markdown="")
    heard("zobench.cli.board_export.gather", SimpleNamespace(records=[]))
    heard("zobench.cli.leaderboard._faults", 0)
    made = heard("zobench.cli.leaderboard._board", board)
    shown, put = heard("zobench.cli.leaderboard._print"), heard("zobench.cli.leaderboard._put", 0)
    out = tmp_path / "board.md"
    assert main(["leaderboard", str(tmp_path), *words.replace("OUT", str(out)).split()]) == 0
    ((_, _, most), options), (_, printed), (where, how) = made[0], shown[0], put[0]
    usual = {"paper": False, "split_protocols": False, "family": "board", "order": "average"}
    usual |= {"most": None, "full": False, "html": True, "asked": False}
    assert {**options, "most": most, **printed, **how} == {**usual, **changes}
    assert where[1] == (out if "out" in words else tmp_path / "leaderboard.md")


def test_of_pack(tmp_path, heard):
    done = SimpleNamespace(sizes={}, sides=0, records=0, removed=0, left=[], problems=[])
    packed, undone = heard("zobench.report.packing.pack", done), heard("zobench.report.packing.unpack", done)
    for words in ("", "--with steps,replay --remove --replace", "--undo", "--undo --remove"):
        assert main(["pack", str(tmp_path), *words.split()]) == 0
    assert packed == [
        ((tmp_path,), {"kinds": [], "remove": False, "replace": False}),
        ((tmp_path,), {"kinds": ["steps", "replay"], "remove": True, "replace": True}),
    ]
    assert undone == [((tmp_path,), {"remove": False}), ((tmp_path,), {"remove": True})]


def test_of_sensitivity(tmp_path, heard):
    placed = heard("zobench.cli.looking.place_of", (SimpleNamespace(model="m"), "smoke"))
    heard("zobench.run.place.load", SimpleNamespace(name="m", revision=None, dtype="bfloat16"))
    looking = heard("zobench.cli.sensitivity.looking_at", [("sst2", "prepared", "given")])
    looked = heard("zobench.run.sensitivity.looked", [])
    heard("zobench.cli.sensitivity.outlier_block")
    heard("zobench.cli.sensitivity.bar")
    heard("zobench.report.sensitivity.markdown", "")
    words = f"analyze sensitivity --task sst2 -m m --data-dir {tmp_path} --seeds 3,4 --eps 0.5 --batches 5"
    words += " --batch-size 6 --no-gradients --preset smoke --dtype bfloat16 --device cpu --offline"
    assert main(words.split()) == 0
    ((_, model, preset, data), how) = placed[0]
    assert (model, preset, data, how) == ("m", "smoke", tmp_path, {"device": "cpu", "offline": True})
    sample = looking[0][0][1]
    assert (sample.preset, sample.batches, sample.batch_size) == ("smoke", 5, 6)
    (_, how) = looked[0]
    assert {name: how[name] for name in ("seeds", "eps", "gradients")} == {
        "seeds": (3, 4),
        "eps": 0.5,
        "gradients": False,
    }


def test_of_run_with_ranks(heard, monkeypatch):
    """What joins the processes is told their number, and what runs cells is given them."""
    from types import SimpleNamespace

    group, asked = SimpleNamespace(rank=0, stop=lambda: asked.append("stopped")), []
    monkeypatch.setattr("zobench.run.group.joined", lambda size: nullcontext(asked.append(size) or group))
    seen = heard("zobench.cli.run._run")
    assert main(["run", "-e", "mezo", "--ranks", "3"]) == 0
    assert seen[0][1]["ranks"] is group and asked == [3, "stopped"]


def test_shared_options_stand_in_a_command_and_arrive():
    """Those of a dataclass, with its defaults; called by others with some of them."""
    import dataclasses
    import inspect

    from zobench.cli.shared_options import shares

    seen = []

    def show(look, deep: bool = False) -> None:
        seen.append((look, deep))

    @dataclasses.dataclass(frozen=True)
    class Told:
        seed: int
        name: str = "x"

    show.__annotations__["look"] = Told
    made = shares(show)
    assert list(inspect.signature(made).parameters) == ["seed", "name", "deep"]
    made(seed=3)
    made(seed=4, name="y", deep=True)
    assert seen == [(Told(3, "x"), False), (Told(4, "y"), True)]
    with pytest.raises(TypeError, match="nonsense"):
        made(seed=3, nonsense=1)


def switches(command, path=()):
    """By command and first word every switch of a command and of those below it: its default and its opposites."""
    for name, below in getattr(command, "commands", {}).items():
        yield from switches(below, (*path, name))
    for one in command.params:
        if getattr(one, "is_flag", False):
            yield (" ".join(path), one.opts[0]), (one.default, bool(one.secondary_opts))


def test_a_switch_that_cannot_be_taken_back_is_off_until_it_is_said(monkeypatch):
    monkeypatch.setenv("_ZOBENCH_COMPLETE", "1")  # which has every command
    found = dict(switches(_click_command([])))
    single = {named: default for named, (default, opposite) in found.items() if not opposite}
    assert len(single) > 30 and {named: default for named, default in single.items() if default} == {}
    assert {named: default for named, (default, opposite) in found.items() if opposite} == {
        ("leaderboard", "--html"): True,
        ("clean", "--older"): True,
        ("analyze sensitivity", "--gradients"): True,
    }
