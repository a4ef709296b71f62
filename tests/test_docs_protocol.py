"""The page on the protocol stays true: its settings, values, defaults, sizes and tests are those of the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import VERSION, Computation, Protocol
from zobench.run.routing import route
from zobench.run.wish import Wish
from zobench.settings import convert, settings_of

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "protocol.md").read_text()
DECLARED = settings_of(Protocol) | settings_of(Computation)


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def code(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def said() -> list[tuple[str, str]]:
    """Every `name=value` of the page, in text and in commands."""
    return sorted(set(re.findall(r"(?<![\w.])([a-z_]+)=([\w.+-]+)", PAGE)))


def test_every_setting_named_exists_and_takes_its_value():
    assert len(said()) > 20
    for name, value in said():
        assert name in DECLARED, name
        if value != "K":
            convert(value, DECLARED[name].type, name)


def test_commands_take_them_all():
    plugins = load_plugins(only="")
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.S):
        settings = dict(re.findall(r"--set ([a-z_]+)=(\S+)", block))
        assert settings
        route(Wish(("mezo",), ("all",), ("sst2",), settings=settings, preset="paper"), plugins)


def test_the_version_is_the_one_in_records():
    assert f"protocol.version = {VERSION}" in PAGE


def test_every_setting_of_the_protocol_is_explained():
    names = {word for text in code(PAGE) for word in re.findall(r"[a-z_]+", text)}
    assert sorted(set(settings_of(Protocol)) - names) == []
    assert {"engine", "noise", "restore", "precision", "tensor_order", "dtype"} <= names


@pytest.mark.parametrize("preset", load_plugins(only="").names("presets"))
def test_sizes_are_those_of_the_presets(preset):
    given = load_plugins(only="").get("presets", preset).settings
    column = {"smoke": 1, "small": 2, "embedded": 3, "paper": 4}[preset]
    for row in rows("Sizes"):
        name = code(row[0])[0]
        default = DECLARED[name].default
        expected = str(given.get(name, "the task's" if default is None else default))
        assert row[column] == expected, (name, preset)
    sized = {"num_train", "num_dev", "num_test", "batch_size", "steps", "eval_every", "max_length", "max_new_tokens"}
    assert {code(row[0])[0] for row in rows("Sizes")} == sized
    assert set(given) & set(settings_of(Protocol)) <= sized


def test_defaults_of_the_computation():
    for name, default, _ in (row for row in rows("A step")):
        assert code(default)[0] == DECLARED[code(name)[0]].default, name


def test_every_trap_has_its_row():
    assert [row[0] for row in rows("Traps")] == [f"T{i}" for i in range(1, 24)]


@pytest.mark.parametrize("row", rows("Traps"), ids=lambda row: row[0])
def test_guards_are_there(row):
    guards = code(row[4])
    assert guards
    for guard in guards:
        file, _, test = guard.partition("::")
        tree = ast.parse((ROOT / file).read_text())
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, guard
    switch = code(row[3])
    assert switch or row[3].startswith("none"), row[0]


def test_files_and_links_exist():
    for path in re.findall(r"`((?:tests|tasks|zobench)/[\w/.]+\.py)", PAGE):
        assert (ROOT / path).is_file(), path
    anchors = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^## (.+)$", PAGE, re.M)}
    for target in re.findall(r"\]\(#([^)]+)\)", PAGE):
        assert target in anchors, target
