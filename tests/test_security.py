"""What SECURITY.md promises of the code as a whole; each format has tests of its own, which the page names."""

from __future__ import annotations

import ast
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from zobench.cli import main

ROOT = Path(__file__).parent.parent
FOLDERS = ("zobench", "plugins/zobench_plugins", "tasks/zobench_tasks", "world/zobench_world")

RUN_CODE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "pandas", "yaml"}
"""Modules that run code of what they read, or may."""


def faults(tree: ast.AST) -> Iterator[str]:
    """What could run code that stands in a file: an import of `RUN_CODE`, eval or exec, a loader without its lock."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
            yield from (name for name in names if name.partition(".")[0] in RUN_CODE)
        if isinstance(node, ast.Call):
            name, given = ast.unparse(node.func), {one.arg: ast.unparse(one.value) for one in node.keywords}
            wrong = name in ("eval", "exec")
            wrong |= name == "torch.load" and given.get("weights_only") != "True"
            wrong |= name.endswith(".from_pretrained") and given.get("trust_remote_code") != "False"
            wrong |= given.get("trust_remote_code", "False") != "False" or given.get("allow_pickle", "False") != "False"
            if wrong:
                yield ast.unparse(node)


@pytest.mark.parametrize(
    "source",
    [
        "from pickle import load",
        "import joblib",
        "eval(text)",
        "torch.load(path)",
        "AutoConfig.from_pretrained(path)",
        "AutoConfig.from_pretrained(path, trust_remote_code=flag)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_what_could_run_code_is_seen(source):
    assert list(faults(ast.parse(source)))


def test_nothing_reads_what_could_run_code():
    sources = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    found = {str(path.relative_to(ROOT)): list(faults(ast.parse(path.read_text(encoding="utf-8")))) for path in sources}
    assert len(found) > 200 and {name: of_file for name, of_file in found.items() if of_file} == {}


def test_the_model_and_tasks_of_the_package_need_no_network(tmp_path, monkeypatch):
    asked = []

    def refuse(*at: object, **_: object) -> None:
        asked.append(at)
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    words = ["run", "--estimator", "zero_shot", "--tasks", "sst2", "--preset", "smoke", "--results", str(tmp_path)]
    assert main(words) == 0 and asked == []
    [record] = [json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.glob("cells/*.json")]
    assert record["status"] == "ok"


def test_the_tests_that_the_page_names_are_there():
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)`", page)
    assert len(named) > 5 and [path for path in named if not (ROOT / path).is_file()] == []
