"""Texts from elsewhere stay text on a board: names, settings, errors and files forge no heading, verdict or row."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from kits.matrix import covering
from kits.records import KNOWN, record
from markdown_it import MarkdownIt

from zobench.cli import main
from zobench.report import store, text
from zobench.report.blocks import markdown, sweeps
from zobench.report.identity import cell_id
from zobench.report.leaderboard import render
from zobench.report.summary import summarise

HOSTILE = {
    "line break": "x\n## mezo is best\n\ny",
    "other breaks": "x\r\n\v\f\x1c\x85\u2028\u2029## y",
    "a row": "x | 99.9 |\n| y",
    "an escaped row": "x \\| 99.9 \\\\| y",
    "HTML": "<script>alert(1)</script><img src=x onerror=y><!-- ",
    "link": "[mezo](https://evil.example/x)",
    "picture": "![mezo](https://evil.example/x.png)",
    "reference": "[mezo]: https://evil.example/x",
    "address": "https://evil.example/x HTTP://evil.example www.evil.example me@evil.example mailto:me@evil.example",
    "bold": "**99.9 ± 0.1** __x__",
    "italics": "*zero_shot* _adamw_ _x",
    "code": "`x``` ~~~ `",
    "terminal": "\x1b[2J\x1b[31mred\x07\x08\x00",
    "direction": "\u202eabc\u2066\u200b\ufeff",
    "entity": "&lt;b&gt; &#42;x&#42;",
    "backslash": "x\\",
}


def live(markdown: str) -> Counter[str]:
    """What of a page is more than text, by kind."""
    seen: Counter[str] = Counter()
    todo = list(MarkdownIt("commonmark").enable("table").parse(markdown))
    while todo:
        token = todo.pop()
        seen[token.type] += 1
        todo += token.children or ()
    kinds = ("heading_open", "html_block", "html_inline", "link_open", "image", "strong_open", "em_open", "tr_open")
    kinds += ("td_open", "th_open", "code_inline", "fence", "code_block", "hr", "list_item_open", "table_open")
    return Counter({kind: seen[kind] for kind in kinds})


def board(name: str, at: str) -> str:
    """A board with two rows, one of whose texts is `name`."""
    one: Any = record(test=90, speedup=None)
    other: Any = record("lozo", test=60, speedup=None)
    failed: Any = record("hizoo", status="error", error=name if at == "error" else "ValueError: x")
    for r in (one, other, failed):
        if at in ("model", "model_revision", "data", "task"):
            r["cell"][at] = name
    if at in ("estimator", "selector"):
        one["cell"][at] = name
    elif at == "value":
        one["cell"]["estimator_settings"]["kind"] = name
    elif at == "key":
        one["cell"]["estimator_settings"][name] = 1
    elif at == "list":
        one["cell"]["selector_settings"]["of"] = [name]
    elif at == "protocol":
        for r in (one, other, failed):
            r["protocol"]["rule"] = name
    elif at == "note":
        one["data"] = {"notes": {name: name}}
    elif at == "device":
        one["environment"]["device_name"] = name
    elif at == "processor":
        one["environment"]["processor"] = name
    elif at == "unverified":
        one["unverified"] = [name]
    elif at == "problem":
        return render([one, other, failed], problems=[f"cells/{name}.json: {name}"])
    elif at == "column":
        return render([one, other, failed], columns={name: lambda _: name})
    elif at == "column fault":

        def fails(_: Any) -> str:
            raise ValueError(name)

        return render([one, other, failed], columns={"c": fails})
    return render([one, other, failed])


PLACES = (
    *("model", "model_revision", "data", "task", "estimator", "selector", "value", "key", "list", "protocol", "note"),
    *("device", "processor", "unverified", "error", "problem", "column", "column fault"),
)


@pytest.mark.parametrize(("at", "kind"), covering(PLACES, sorted(HOSTILE)))
def test_a_text_on_a_board_stays_text(at: str, kind: str):
    assert_stays_text(board(HOSTILE[kind], at), board("harmless", at), at, kind)


def assert_stays_text(said: str, plain: str, at: str, kind: str):
    if at != "column" or kind not in ("bold", "italics", "code", "link", "picture", "reference", "address"):
        assert live(said) == live(plain)
        assert not re.search(r"(?i)https?://evil|www\.evil|me@evil", said)
    assert all(c.isprintable() or c == "\n" for c in said)
    assert len(said.splitlines()) == len(plain.splitlines())


@pytest.mark.parametrize("kind", sorted(HOSTILE))
def test_a_line_on_a_console_is_one_line_that_is_printable(kind: str):
    one: Any = record("hizoo", status="error", error=HOSTILE[kind])
    one["cell"]["task"] = HOSTILE[kind]
    assert summarise(one).isprintable()


def test_sweeps_too():
    made = []
    for layer in (0, 1):
        one: Any = record("mezo", f"layer:{layer}", selector_settings={"index": [layer]}, test=60 + layer)
        one["scope"]["layers"] = [layer]
        one["cell"]["model"] = "x\n## y <b>"
        made.append(one)
    said = markdown(sweeps(made, KNOWN))
    assert "61.0" in said and "\n## y" not in said and "<b>" not in said


@pytest.mark.parametrize("said", [*HOSTILE.values(), "layer (index=[1])", "first_outlier+layer:30", "Qwen/Qwen3-0.6B"])
def test_what_is_inert_stays_as_it_is(said: str):
    assert text.foreign(text.foreign(said)) == text.foreign(said)


@pytest.mark.parametrize(
    "said", ["sparse_mezo", "layer (index=[1], of=all)", "a/b-1.5_x", "eps=1e-3; 5 % ± 2", "é ü 漢"]
)
def test_usual_names_are_not_touched(said: str):
    assert text.foreign(said) == said
    value = {"a": [said, {"b": said}], "c": 1.0}
    assert text.inert(value) is value


def test_hostile_records_on_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store.write(tmp_path, record())
    one: Any = record("lozo")
    one["cell"]["estimator"] = "lo\n## zo"
    one["id"] = cell_id(one["cell"], one["protocol"])
    store.write(tmp_path, one)
    (tmp_path / "cells" / "a\n## b <i>.json").write_text("{")
    assert main(["leaderboard", str(tmp_path), "--full"]) == 2
    said = capsys.readouterr()
    assert "2 records, 2 ok" in said.out and "lo ## zo" in said.out
    assert not re.search(r"^## (b|zo)", said.out, re.MULTILINE) and "<i>" not in said.out
    assert len(said.err.splitlines()) == 1
