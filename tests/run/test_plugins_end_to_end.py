"""A third party's methods in one table with the built-ins: as an installed package, and as one file."""

from __future__ import annotations

import shutil

from kits.plugin_kit import install_example
from kits.run_kit import QUICK, plugin_file

from zobench.cli import main
from zobench.report import store

ONE_FILE = """
    from torch import Tensor

    from zobench import Estimator, Losses, Natural, Positive, Scope, SelectionContext, Selector, hookimpl


    class SignMeZO(Estimator):
        \"\"\"MeZO with the sign of the slope only.\"\"\"

        eps: Positive = 1e-3

        def iterate(self, losses: Losses) -> Tensor:
            z = self.noise()
            plus, minus = losses(+self.eps * z, -self.eps * z)
            self.descend((plus - minus).sign() * z)
            return plus


    class EveryOther(Selector):
        \"\"\"Every other block.\"\"\"

        start: Natural = 0

        def select(self, context: SelectionContext) -> Scope:
            return context.layers(*range(self.start, len(context.blocks), 2))


    @hookimpl
    def zobench_estimators():
        return {"sign_mezo": SignMeZO}


    @hookimpl
    def zobench_selectors():
        return {"every_other": EveryOther}


    @hookimpl
    def zobench_leaderboard_columns():
        return {"blocks": lambda records: ",".join(map(str, records[0]["scope"]["layers"]))}
"""


def quick(world, results, *words):
    sizes = [
        x for key, value in {**QUICK, "speed_steps": 2, "speed_warmup": 1}.items() for x in ("--set", f"{key}={value}")
    ]
    place = ["--model", world.model, "--results", results, "--device", "cpu", "--offline", "--lr", "1e-3"]
    return ["run", *place, *words, *sizes]  # fmt: skip


def rows(board):
    """The methods of the lines that a terminal is shown."""
    return [line.split()[1] for line in board.splitlines() if len(line.split()) > 3 and line.split()[2] == "/"]


def test_an_installed_package(world, tmp_path, monkeypatch, capsys):
    """tests/test_example_plugin.py asks another process whether it sees the package."""
    site, data, results = install_example(tmp_path / "example"), tmp_path / "data", tmp_path / "r"
    shutil.copytree(world.data / "sst2", data / "review")  # the task reads SST-2's fields
    words = ["--estimator", "greedy,mezo", "--selector", "middle", "--tasks", "review", "--data-dir", data]
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(site))
        assert main([str(w) for w in quick(world, results, *words, "--set", "greedy.n=2")]) == 0
    board = capsys.readouterr().out
    records = {r["cell"]["estimator"]: r for r in store.read(results)[0]}
    assert set(records) == {"greedy", "mezo"}
    assert [n for n in ("greedy", "mezo") if any(row.startswith(n) for row in rows(board))] == ["greedy", "mezo"]
    for record in records.values():
        assert record["status"] == "ok" and record["cell"]["task"] == "review"
        assert record["scope"]["layers"] == [1] and record["selection"] == {"middle": 1}
        assert record["speed"]["ratio"] > 0
    assert records["greedy"]["cell"]["estimator_settings"]["n"] == 2
    assert records["greedy"]["forwards"]["train"] == 4 * (2 + 3)
    assert records["mezo"]["metrics"]["zero_shot"] == records["greedy"]["metrics"]["zero_shot"]
    assert (
        main(["leaderboard", str(results), "--check"]) == 0
    )  # without the package too: a board is made of records alone


def test_one_file_with_an_estimator_a_selector_and_a_column(world, tmp_path, capsys):
    file, results = plugin_file(tmp_path, ONE_FILE), tmp_path / "r"
    words = ["--estimator", "sign_mezo,mezo", "--selector", "every_other,all", "--tasks", "sst2"]
    assert main([str(w) for w in quick(world, results, *words, "--data-dir", world.data, "--plugin", file)]) == 0
    board = capsys.readouterr().out
    written = (results / "leaderboard.md").read_text(encoding="utf-8")
    records, problems = store.read(results)
    assert len(records) == 4 and not problems and {r["status"] for r in records} == {"ok"}
    found = {(r["cell"]["estimator"], r["cell"]["selector"]): r["scope"]["layers"] for r in records}
    assert found == {
        (e, s): at for e in ("sign_mezo", "mezo") for s, at in (("every_other", [0, 2]), ("all", [0, 1, 2]))
    }
    assert "blocks" in written and "0,2" in written and "sign_mezo" in board and "every_other" in board
    assert main(["leaderboard", str(results), "--check", "--plugin", str(file)]) == 0
    assert main(["leaderboard", str(results), "--check"]) == 1  # the column is the plugin's
