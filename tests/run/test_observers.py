"""Who hears of a run, and that hearing disturbs nothing."""

from __future__ import annotations

import io

from kits.run_kit import (
    numbers,
    plugin_file,
    run,
)
from rich.console import Console

from zobench.plugins.registry import load_plugins
from zobench.run.progress import Progress


def test_observers_are_called(world, tmp_path):
    source = """
        from zobench import hookimpl

        SEEN = []

        @hookimpl
        def zobench_run_start(cells):
            SEEN.append(("start", [c["estimator"] for c in cells]))

        @hookimpl
        def zobench_step(cell, step, lr, loss):
            SEEN.append(("step", cell["estimator"], step, lr, type(loss)))

        @hookimpl
        def zobench_eval(cell, step, lr, dev_loss):
            SEEN.append(("eval", cell["estimator"], step, lr, dev_loss))

        @hookimpl
        def zobench_run_end(records):
            SEEN.append(("end", [r["status"] for r in records]))
    """
    plugins = load_plugins([plugin_file(tmp_path, source)])
    (seen,) = [p.SEEN for p in plugins._manager.get_plugins() if hasattr(p, "SEEN")]
    _, mezo = run(world, tmp_path, ["zero_shot", "mezo"], plugins=plugins, steps=12, eval_every=6)
    curve = mezo["trials"][0]["curve"]
    assert seen == [
        ("start", ["zero_shot", "mezo"]),
        ("step", "mezo", 1, 1e-3, float),
        ("eval", "mezo", 6, 1e-3, curve[0][1]),
        ("step", "mezo", 10, 1e-3, float),
        ("eval", "mezo", 12, 1e-3, curve[1][1]),
        ("end", ["ok", "ok"]),
    ]


def test_an_observer_that_raises_disturbs_nothing(world, tmp_path, faulty, monkeypatch, capsys):
    (want,) = run(world, tmp_path / "a", ["mezo"], plugins=faulty)
    monkeypatch.setenv("FAULT", "error@eval")
    (got,) = run(world, tmp_path / "b", ["mezo"], plugins=faulty)
    assert numbers(got) == numbers(want)
    assert capsys.readouterr().err.count("zobench_eval raised") == 1


def test_a_line_of_a_cell_is_one_line_however_narrow_the_terminal_is():
    out = io.StringIO()
    progress = Progress(load_plugins(only=""), 2, Console(file=out, width=40))
    progress._ended("[bold]x[/bold] " + "word " * 30 + "end")
    progress._ended("y")
    assert out.getvalue().splitlines() == ["[1/2] [bold]x[/bold] " + "word " * 30 + "end", "[2/2] y"]
