"""What the pages show works: every estimator and selector passes its battery, every command of a shell is one."""

from __future__ import annotations

import re
import shlex
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from zobench import Composite, Estimator, Selector, ZobenchError
from zobench.cli import COMMANDS, _click_command, main
from zobench.cli.new import write_plugin
from zobench.plugins import expressions
from zobench.plugins.along import takes_none
from zobench.plugins.registry import load_plugins
from zobench.reserved import HEADINGS, WORDS, shown
from zobench.run.along import of_settings
from zobench.run.routing import executor_settings, parse_settings, route
from zobench.run.wish import Wish
from zobench.testing import check_estimator, check_selector

ROOT = Path(__file__).parent.parent
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "results/README.md",
    *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")),
]
BUILT_IN = load_plugins(only="")


def blocks(language: str, page: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.S | re.M)


# ---- classes


def classes_of(source: str, name: str) -> list[type]:
    """The estimators and selectors that a block of Python defines."""
    module = types.ModuleType(name)
    sys.modules[name] = module  # annotations are looked up there
    exec(compile(source, name, "exec"), vars(module))
    found = (v for v in vars(module).values() if isinstance(v, type) and v.__module__ == name)
    return [v for v in found if issubclass(v, Estimator | Selector)]


def shown_classes() -> Iterator[tuple[str, str]]:
    """(page, source) of every block that defines one."""
    for page in PAGES:
        for source in blocks("python", page):
            if re.search(r"^class \w+\((Estimator|Selector|Composite)\):", source, re.M):
                yield page, source


EXAMPLES = list(shown_classes())
ENGINES = ("pair", "official")
"""Weights replaced, and displaced by arithmetic: that all engines agree is asked of the built-ins."""


def check(cls: type) -> None:
    if issubclass(cls, Estimator):
        check_estimator(cls, engines=ENGINES)
    elif issubclass(cls, Composite):  # a selector of another one
        find = {"it": cls, "layer": BUILT_IN.selector("layer")}.__getitem__
        check_selector(expressions.build("it:layer:1", find))
    else:
        check_selector(cls)


def name_of(example: tuple[str, str]) -> str:
    return re.search(r"^class (\w+)\(", example[1], re.M)[1]  # type: ignore[index]


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_every_estimator_and_selector_on_a_page_passes_its_battery(example):
    page, source = example
    made = classes_of(source, f"example_of_{name_of(example)}")
    assert made, page
    for cls in made:
        check(cls)


def test_the_pages_show_what_they_should():
    assert {"MomentumSPSA", "SignMeZO", "HalfSPSA", "Majority", "MyZO", "MeZO", "FromTheTop", "Late"} <= set(
        map(name_of, EXAMPLES)
    )


@pytest.mark.parametrize("kind", ["estimator", "selector"])
def test_what_zobench_new_writes_passes_its_battery(kind, tmp_path):
    (path,) = write_plugin(kind, "fresh_one", tmp_path)
    check(load_plugins([path], only="").get(f"{kind}s", "fresh_one"))  # type: ignore[arg-type]


# ---- commands


def commands() -> Iterator[tuple[str, str]]:
    """(page, command) of every call of zobench in a shell block, its variables put in."""
    for page in PAGES:
        for block in blocks("bash", page):
            variables: dict[str, list[str]] = {}
            for line in re.sub(r"\\\n\s*", " ", block).splitlines():
                for words in calls(line):
                    named = words[0].partition("=") if words else ("", "", "")
                    if len(words) == 1 and re.fullmatch(r"[A-Z]+", named[0]) and named[1]:
                        variables[named[0]] = shlex.split(named[2])
                    whole = [w for word in words for w in variables.get(word.removeprefix("$"), [word])]
                    while whole and re.fullmatch(r"[A-Z_]+=.*", whole[0]):
                        del whole[0]
                    if whole[:1] == ["zobench"]:
                        yield page, shlex.join(whole[1:])


def calls(line: str) -> Iterator[list[str]]:
    """The words of each command of a line: up to a pipe, a redirection, a semicolon or an ampersand."""
    if "zobench " not in line and not re.match(r"[A-Z]+=", line):
        return
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split = True
    words: list[str] = []
    skip = False
    for word in lexer:
        if set(word) <= set(";&|"):
            yield words
            words, skip = [], False
        elif set(word) <= set("<>"):
            skip = True
        elif not skip:
            words.append(word.strip("[]"))
    yield words


LINES = list(dict.fromkeys(commands()))


@pytest.mark.parametrize(("page", "line"), LINES, ids=[line[:60] for _, line in LINES])
def test_every_command_on_a_page_can_be_read(page, line, tmp_path, monkeypatch):
    """Subcommand, options and the types of their values; of a run also names and settings, where all are built in."""
    words = shlex.split(line)
    if "--config" in words and not (config := Path(words[words.index("--config") + 1])).is_file():
        monkeypatch.chdir(tmp_path)  # a file that the page's reader has: one that says what must be said
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text('estimator = "mezo"\n', encoding="utf-8")
    command, context = _click_command(words), None
    while hasattr(command, "commands"):
        context = command.make_context("zobench", words, parent=context)
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
    made = command.make_context(name, words, parent=context)
    if name == "run" and not made.params["plugin"]:
        check_names(made.params)


def check_names(given: dict[str, object]) -> None:
    def names(key: str) -> tuple[str, ...]:
        return tuple(str(given[key] or "all").split(","))

    settings = parse_settings(given["set_"] or [])  # type: ignore[arg-type]
    wish = Wish(names("estimator"), names("selector"), names("tasks"), settings=settings)
    wish, _ = executor_settings(wish, BUILT_IN, str(given["executor"]))
    route(of_settings(wish, lambda name: takes_none(BUILT_IN.estimator(name)), print, wish.estimators), BUILT_IN)
    for task in names("tasks"):
        assert task == "all" or task in BUILT_IN.names("tasks")


def test_there_are_commands_to_read():
    assert len(LINES) > 20 and {"run", "show", "new", "bench", "leaderboard"} <= {line.split()[0] for _, line in LINES}
    assert {line.split()[0] for _, line in LINES} <= {*COMMANDS, "--help"}


def test_a_command_that_is_none_is_found(capsys):
    assert main(["run", "--estimatr", "mezo"]) == 2
    with pytest.raises(ZobenchError):
        route(Wish(("mezo",), ("all",), ("sst2",), settings={"epss": "1"}), BUILT_IN)


# ---- reserved names


def test_the_guide_names_every_reserved_name():
    guide = (ROOT / "docs" / "plugins.md").read_text()
    section = guide[guide.index("### Reserved names") :].partition("\n#")[0]
    told = set(re.findall(r"`(\w+)`", section))
    words = {word for kind in WORDS.values() for word in kind}
    assert set(shown("estimators", Estimator)) | set(shown("selectors", Selector)) | words <= told
    assert "method" in HEADINGS and "one of the board's own" in section.replace("\n", " ")
