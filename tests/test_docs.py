"""The guides stay true: every hook has its heading and a test, links lead somewhere, and the examples run."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import sys
import tomllib
import types
from pathlib import Path

import pytest

from zobench.cli import main
from zobench.cli.card import COMMAND
from zobench.plugins.discovery import hook_arguments, new_manager
from zobench.plugins.registry import KINDS, load_plugins
from zobench.tasks.task import Task

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "plugins.md").read_text()
HOOKS = hook_arguments(new_manager())


def sections(text: str) -> dict[str, str]:
    """Heading -> the text under it, up to the next heading."""
    parts = re.split(r"^#{1,3} (.+)$", re.sub(r"^```bash\n.*?^```$", "", text, flags=re.S | re.M), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(language: str, text: str = GUIDE) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.S | re.M)


def test_every_hook_has_a_heading_with_its_arguments_and_an_example():
    headings = {heading: text for heading, text in sections(GUIDE).items() if heading.startswith("`zobench_")}
    assert sorted(headings) == sorted(f"`{name}({', '.join(arguments)})`" for name, arguments in HOOKS.items())
    for heading, text in headings.items():
        name = heading.strip("`").partition("(")[0]
        assert any(f"@hookimpl\ndef {name}(" in block for block in blocks("python", text)), heading


def test_every_hook_is_documented_where_it_is_declared():
    from zobench.plugins import hookspecs

    for name in HOOKS:
        assert (getattr(hookspecs, name).__doc__ or "").strip().endswith("."), name


def test_every_hook_has_a_test():
    tree = ast.parse((ROOT / "tests" / "plugins" / "test_plugins.py").read_text())
    tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {name for name in tests if name.startswith("test_hook_")} == {f"test_hook_{name}" for name in HOOKS}


def test_the_page_of_methods_is_what_the_command_prints(capsys, monkeypatch):
    monkeypatch.setenv("ZOBENCH_PLUGINS", "")
    assert main(["ls", "--markdown"]) == 0
    page = (ROOT / "docs" / "methods.md").read_text()
    assert page == capsys.readouterr().out, f"make it anew: {COMMAND}"
    assert COMMAND in page


DOCS = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
PAGES = ["README.md", "SECURITY.md", *DOCS, "CONTRIBUTING.md"]
EXAMPLES = [block for page in PAGES for block in blocks("python", (ROOT / page).read_text())]


def test_a_new_estimator_takes_30_lines():
    assert len(EXAMPLES[-1].splitlines()) <= 30


@pytest.mark.parametrize("index", range(len(EXAMPLES)))
def test_the_examples_of_the_guides_run(index, tmp_path, monkeypatch):
    source = EXAMPLES[index]
    monkeypatch.chdir(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()):
        if "@hookimpl" not in source:
            return execute(source, f"guide_{index}", monkeypatch)
        (tmp_path / "irony.toml").write_text(task_example())
        (tmp_path / f"guide_{index}.py").write_text(source)
        warnings: list[str] = []
        plugins = load_plugins([tmp_path / f"guide_{index}.py"], only="", warn=warnings.append)
        cell = {"task": "sst2", "estimator": "mezo", "seed": 0}
        plugins.fire_run_start([cell])
        plugins.fire_step(cell, step=0, lr=1e-6, loss=21.0)
        plugins.fire_eval(cell, step=0, lr=1e-6, dev_loss=0.5)
        record = {"id": "x", "status": "oom", "time": {"total_s": 7200.0}}
        plugins.fire_run_end([record])
        assert [column([record]) for column in plugins.leaderboard_columns().values()] in ([], ["2.0"])
    assert warnings == []
    mine = [o for kind in KINDS for n in plugins.names(kind) for o in plugins.offers(kind, n) if o.by.dist != "zobench"]
    for offer in mine:
        assert plugins.task(offer.name) if offer.kind == "tasks" else plugins.get(offer.kind, offer.name)
        assert plugins.offer(offer.kind, offer.name) is offer
    assert (tmp_path / "curves.csv").exists() == ("curves.csv" in source)


def execute(source: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a block as a module (annotations are looked up in sys.modules), and the tests it defines."""
    module = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(source, name, "exec"), vars(module))
    for defined in [value for key, value in vars(module).items() if key.startswith("test_")]:
        defined()


def task_example() -> str:
    return next(block for block in blocks("toml") if "[template]" in block)


def test_the_task_of_the_guide_renders(tmp_path):
    path = tmp_path / "irony.toml"
    path.write_text(task_example())
    example = Task.load(path).render({"text": " Lovely weather. ", "label": 1})
    assert example.texts == ("Lovely weather. This is meant", "Lovely weather. This is ironic")
    assert example.gold == 1


def test_the_packaging_example_is_like_the_example_plugin():
    guide = next(tomllib.loads(block) for block in blocks("toml") if "entry-points" in block)
    real = tomllib.loads((ROOT / "tests" / "example_plugin" / "pyproject.toml").read_text())
    assert list(guide["project"]["entry-points"]) == list(real["project"]["entry-points"]) == ["zobench"]
    assert guide["build-system"]["build-backend"] == real["build-system"]["build-backend"]


def test_links_and_files_of_the_guides_exist():
    for page in PAGES:
        text = (ROOT / page).read_text()
        for target in re.findall(r"\]\(([^)]+)\)", text):
            if "://" in target:
                continue
            path, _, anchor = target.partition("#")
            file = (ROOT / page).parent / path if path else ROOT / page
            assert file.exists(), target
            headings = sections(file.read_text()) if anchor else ()
            assert not anchor or anchor in {
                re.sub(r"[^a-z0-9 _-]", "", h.lower()).replace(" ", "-") for h in headings
            }, target
