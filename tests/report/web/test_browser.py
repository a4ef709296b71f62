"""board.html in a browser: charts, sorting, filtering, a cell's section; no error on the console, nothing fetched."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from kits.records import KNOWN, items, record, small_board

from zobench.report.leaderboard import board
from zobench.report.web import page

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium (Debian: apt-get install chromium)")

ASKS = """
<script>
const said = { violations: [] };
addEventListener("securitypolicyviolation", (e) => said.violations.push(e.blockedURI));
const all = (selector) => [...document.querySelectorAll(selector)];
const cells = (row) => [...row.querySelectorAll(".tabulator-cell")].map((c) => c.textContent);
const titles = () => all("#table .tabulator-row").map(cells);
const press = (e, type, key) => e.dispatchEvent(new KeyboardEvent(type, { key, bubbles: true }));
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
(async () => {
  for (let i = 0; i < 100 && !document.body.dataset.ready; i++) await wait(50);
  await wait(300);
  said.charts = all(".chart").map((c) => [c.id, c.querySelectorAll("svg path, svg text").length]);
  said.rows = titles();
  const head = (name) => all("#table .tabulator-col-title").find((t) => t.textContent === name);
  head("test").focus();
  press(head("test"), "keydown", "Enter");
  await wait(200);
  said.sorted = titles().map((r) => r[4]);
  const filter = document.querySelector("input[aria-label='filter method']");
  filter.value = "lozo";
  filter.dispatchEvent(new Event("input", { bubbles: true }));
  press(filter, "keyup", "o");
  await wait(800);
  said.filtered = titles().map((r) => r[2]);
  said.count = document.getElementById("count").textContent;
  const row = document.querySelector("#table .tabulator-row");
  row.focus();
  press(row, "keydown", "Enter");
  await wait(300);
  said.cell = document.getElementById("cell").textContent;
  said.facts = document.getElementById("facts").textContent;
  said.again = document.getElementById("again").textContent;
  said.items = all("#changed-rows tr").map((r) => [...r.children].map((c) => c.textContent));
  said.shown = !document.getElementById("changed").hidden;
  said.focus = document.activeElement.id;
  said.fetched = performance.getEntriesByType("resource").map((e) => e.name);
  said.wide = document.documentElement.scrollWidth - innerWidth;
  said.unnamed = all("input,select,button").filter((e) => !e.labels?.length && !e.ariaLabel && !e.textContent).length;
  const out = document.createElement("pre"); out.id = "said";
  out.textContent = JSON.stringify(said);
  document.body.append(out);
})();
</script>
"""


def asked(tmp_path: Path, records: Any, size: str = "1366,768", *more: str) -> tuple[dict[str, Any], list[str]]:
    """What the page says when it is used, and the lines on its console."""
    text = page.render(board(records, split_protocols=True, known=KNOWN))
    text = ASKS.join(text.rpartition("</body>")[::2])
    path = tmp_path / "board.html"
    path.write_text(text, encoding="utf-8")
    flags = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--virtual-time-budget=20000",
    ]
    home = ["--virtual-time-budget=20000", "--no-first-run", f"--user-data-dir={tmp_path / 'browser'}"]
    program = [str(BROWSER), *flags, *home, *more, f"--window-size={size}", "--dump-dom", path.as_uri()]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r'<pre id="said">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stderr[-2000:]
    return json.loads(html.unescape(found[1])), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def swept() -> list[Any]:
    out = [record("lozo", f"layer:{n}", seed=s, test=items(60 + n)) for n in range(3) for s in range(3)]
    for one in out:
        one["scope"]["layers"] = [int(one["cell"]["selector"][-1])]
    return out


def test_it_is_used_as_a_reader_would(tmp_path: Path):
    said, console = asked(tmp_path, [*small_board(), *swept()])
    assert console == [] and said["violations"] == [] and said["fetched"] == []
    assert all(n > 5 for name, n in said["charts"] if name != "trials") and len(said["charts"]) == 5
    assert len(said["rows"]) > 10
    scores = [float(x) for x in said["sorted"] if x]
    assert len(scores) > 5 and scores == sorted(scores), "Enter on a heading sorts"
    assert set(said["filtered"]) == {"lozo"} and said["count"].startswith(f"{len(said['filtered'])} of 41 cells")
    assert "lozo" in said["cell"] and said["focus"] == "cell" and "made better" in said["facts"]
    assert said["shown"] and said["items"][0][0].startswith("#") and said["items"][0][1] == "wrong, now right"
    assert said["again"].startswith("zobench run --model tiny --estimator lozo") and "--tasks sst2" in said["again"]
    assert said["unnamed"] == 0


def test_on_a_phone_nothing_but_tables_and_charts_scrolls_aside(tmp_path: Path):
    said, console = asked(tmp_path, small_board(), "390,844")
    assert console == [] and said["wide"] <= 0


def test_in_the_dark_and_with_names_that_attack(tmp_path: Path):
    bad = "</script><img src=x onerror=document.title='owned'>"
    made = [record("lozo", seed=s, test=items(60 + s), settings={"a": bad}, model=bad) for s in range(3)]
    said, console = asked(tmp_path, made, "1366,768", "--force-dark-mode", "--enable-features=WebContentsForceDark")
    assert console == [] and said["violations"] == [] and said["fetched"] == []
