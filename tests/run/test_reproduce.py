"""A paper's tables as cells: the grids of its rows, for a model of any depth."""

import re

import pytest

from zobench.cli import main
from zobench.errors import ZobenchError
from zobench.plugins.registry import load_plugins
from zobench.report import papers
from zobench.run.place import Place
from zobench.run.reproduce import Asked, planned


def made(world, results, tables, of="dominant-layer", **more):
    paper = papers.read(of)
    place = Place(str(world.model), world.data, results, "cpu", offline=True)
    return planned(paper, Asked(tuple(papers.tables_of(paper, tables)), **more), place, load_plugins())


def test_the_papers_grid(world, tmp_path):
    """Rates, sizes and dtypes of ZO; of first order epochs of each task's own training examples."""
    tables = made(world, tmp_path, ["1"], budget="paper", tasks=("sst2", "copa"))
    cells = [cell for plan in tables.plans for cell in plan.todo]
    of = {(c.task, c.estimator, c.selector): c for c in cells}
    assert len(cells) == len(of) == 12
    zo = of["copa", "mezo", "first_outlier"]
    assert zo.lrs == (1e-7, 5e-7, 1e-6, 5e-6) and zo.computation.dtype == "float16"
    assert (zo.protocol.steps, zo.protocol.batch_size, zo.protocol.eval_every) == (10_000, 16, 2_000)
    assert of["copa", "lora_zo", "all"].lrs == (5e-6, 1e-5, 2e-5, 5e-5)
    fo = of["copa", "adamw", "all"]
    assert fo.lrs == (1e-5, 5e-5, 1e-4) and fo.computation.dtype == "bfloat16" and fo.protocol.batch_size == 8
    sizes = {plan.outline.prepared("copa", fo.protocol)[0].train_size for plan in tables.plans}
    (train,) = sizes
    assert fo.protocol.steps == 5 * -(-train // 8) and fo.protocol.eval_every == -(-train // 8)
    assert len(tables.plans) == 2  # one a dtype: the model is loaded twice, not four times


def test_mezos_grid_has_other_rates_for_some_tasks(world, tmp_path):
    """Its table 16: SQuAD and DROP have rates of their own; gradients fall linearly over 5 epochs."""
    tables = made(world, tmp_path, ["1"], of="mezo", budget="paper", tasks=("squad", "copa"))
    of = {(c.task, c.estimator): c for plan in tables.plans for c in plan.todo}
    assert of["copa", "mezo"].lrs == (1e-6, 1e-7) and of["squad", "mezo"].lrs == (1e-6, 5e-7, 1e-7)
    assert of["copa", "prefix_zo"].lrs == (1e-2, 1e-3) and of["squad", "prefix_zo"].lrs == (5e-2, 1e-2, 5e-3)
    assert of["squad", "lora_zo"].lrs == (1e-4, 5e-5, 1e-5) and of["squad", "adamw"].lrs == (1e-5, 5e-5, 8e-5)
    assert of["copa", "mezo"].protocol.lr_schedule == "constant" and of["copa", "mezo"].protocol.steps == 20_000
    fo = of["copa", "adamw"].protocol
    assert fo.lr_schedule == "linear" and fo.steps == 5 * fo.eval_every


def test_blocks_are_counted_from_the_end_of_the_model(world, tmp_path):
    """Its dominant block may be named; a sweep has the model's blocks, not the paper's."""
    tables = made(world, tmp_path, ["5"], block=0, tasks=("copa",))
    deep = len(tables.plans[0].outline.loaded.blocks)
    selectors = {cell.selector for plan in tables.plans for cell in plan.todo}
    assert selectors == {"-", "all", "layer:0", f"layer:0+layer:{deep - 2}"}
    both = made(world, tmp_path, ["5"], block=deep - 2, tasks=("copa",))
    assert {c.selector for c in both.plans[0].todo} == {"-", "all", f"layer:{deep - 2}"}
    sweep = made(world, tmp_path, ["12"], tasks=("copa",))
    assert {cell.selector for cell in sweep.plans[0].todo} == {"-", "all", *(f"layer:{k}" for k in range(deep))}


def test_settings_go_to_the_cells_that_have_them(world, tmp_path):
    tables = made(
        world, tmp_path, ["1"], tasks=("copa",), settings={"mezo.eps": "1e-2", "steps": "7", "eval_every": "7"}
    )
    cells = {(c.estimator, c.selector): c for plan in tables.plans for c in plan.todo}
    assert cells["mezo", "all"].estimator_settings["eps"] == 1e-2
    assert cells["lora_zo", "all"].estimator_settings["eps"] == 1e-3
    assert {c.protocol.steps for c in cells.values()} == {7}
    with pytest.raises(ZobenchError, match="nonsense"):
        made(world, tmp_path, ["1"], tasks=("copa",), settings={"nonsense": "1"})
    with pytest.raises(ZobenchError, match="--tasks record"):
        made(world, tmp_path, ["1"], tasks=("record",))


def test_a_dry_run_tells_the_hours_of_both_engines(tmp_path, capsys):
    line = ["reproduce", "dominant-layer", "--table", "5", "--tasks", "copa", "--budget", "paper", "--dry-run"]
    line += ["--model", "shape:llama2-7b", "--for-device", "a6000", "--results", str(tmp_path / "r")]
    assert main([*line, "--set", "num_train=8", "--set", "num_dev=4"]) == 0
    out = capsys.readouterr().out
    ours, theirs = map(float, re.search(r"([\d.]+) hours as it would run, ([\d.]+) with engine=official", out).groups())
    each = [int(h) + int(m) / 60 for h, m in re.findall(r"about (\d+) h (\d+) min on a6000", out)]
    assert 0 < ours < theirs and ours == pytest.approx(sum(each), abs=0.1)
    assert not (tmp_path / "r").exists()


def test_a_table_of_times_and_figures(world, tmp_path, capsys):
    """Table 4 from speeds that cells measured; figure 6 of its cells' losses, figure 2 of the model itself."""
    line = ["reproduce", "dominant-layer", "--tasks", "copa", "--block", "1", "--budget", "minutes", "--offline"]
    line += ["--model", str(world.model), "--data-dir", str(world.data), "--results", str(tmp_path), "--device", "cpu"]
    for setting in ("steps=2", "eval_every=2", "speed_steps=2"):
        line += ["--set", setting]
    assert main([*line, "--table", "4"]) == 0
    page = capsys.readouterr().out
    assert "## Table 4" in page and "paper: MeZO dominant layer" in page
    assert "4.52x" in page or "4.5x" in page  # 870.1 ms over 192.3 ms
    (ours,) = [one for one in page.splitlines() if one.startswith("| ours: mezo / layer:1")]
    assert re.search(r"[0-9.]+x: [0-9.]+", ours), ours
    (tmp_path / "dominant-layer.md").unlink()
    assert main([*line, "--figure", "6,2"]) == 0
    said = capsys.readouterr()
    assert "## Table 5" in said.out and "rule plateau" in said.out
    for number in (2, 6):
        assert (tmp_path / f"dominant-layer-figure{number}.png").read_bytes()[:4] == b"\x89PNG"
    assert main([*line, "--figure", "3"]) == 2 and "figure of dominant-layer" in capsys.readouterr().err


def test_the_command_goes_on_and_writes_the_page(world, tmp_path, capsys):
    """Cells once; the same command again finds them done and prints the same page."""
    line = ["reproduce", "dominant-layer", "--table", "5", "--tasks", "copa", "--block", "1", "--budget", "minutes"]
    line += ["--model", str(world.model), "--data-dir", str(world.data), "--results", str(tmp_path / "r"), "--offline"]
    line += [
        "--device",
        "cpu",
        "--set",
        "steps=2",
        "--set",
        "eval_every=2",
        "--set",
        "lr=1e-3",
        "--set",
        "speed_steps=0",
    ]
    assert main(line) == 0
    first = capsys.readouterr()
    assert "## Table 5" in first.out and "## Claims" in first.out
    assert (tmp_path / "r" / "dominant-layer.md").read_text() == first.out
    assert main(line) == 0
    again = capsys.readouterr()
    assert again.out == first.out and "0 cells to run" in again.err


def test_parts_and_sums_are_run_on_the_tasks_that_are_named(world, tmp_path, capsys):
    """The rows of tables 6 and 5 on a task that table 6 does not have; what is done is not run again."""
    line = ["--tasks", "sst2", "--block", "0", "--model", str(world.model), "--data-dir", str(world.data), "--offline"]
    line += ["--device", "cpu"]
    for setting in ("steps=1", "eval_every=1", "num_train=16", "num_dev=4", "num_test=4", "lr=1e-3", "speed_steps=0"):
        line += ["--set", setting]
    assert main(["analyze", "channels", str(tmp_path), *line]) == 0
    said = capsys.readouterr()
    rows = [row.split("|")[1].strip() for row in said.out.splitlines() if row.startswith("| ")][2:]
    assert rows[0] == "*layer:0*"
    assert [name.rpartition(":")[2] for name in rows[1:]] == ["layer_without_top", "mlp", "mlp_without_top", "top"]
    assert main(["analyze", "combine", str(tmp_path), *line]) == 0
    said = capsys.readouterr()
    assert "| layer:0+layer:1 " in said.out and "2 cells to run in float32, 2 done before" in said.err
    line[line.index("--block") + 1] = "1"  # of three: the last but one
    assert main(["analyze", "combine", str(tmp_path / "own"), *line]) == 2
    assert "the last but one, is that block in this model; zobench run --selector A+B" in capsys.readouterr().err
    assert main(["analyze", "combine", str(tmp_path), "--tasks", "nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_a_folder_of_data_that_is_none_is_told_before_a_model_is_looked_at(tmp_path):
    paper = papers.read("dominant-layer")
    place = Place("no/model", tmp_path / "none", tmp_path, "cpu", offline=True)
    asked = Asked(tuple(papers.tables_of(paper, ["1"])))
    with pytest.raises(ZobenchError, match="--data-dir .*none: no such folder"):
        planned(paper, asked, place, load_plugins(), outline=lambda dtype: pytest.fail("it was looked at"))
