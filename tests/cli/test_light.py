"""What answers without a model must be quick: no torch, no transformers, under a second."""

from __future__ import annotations

import json
import subprocess
import sys

from zobench.cli import COMMANDS

HEAVY = ("torch", "transformers", "datasets", "evaluate", "scipy", "matplotlib", "peft", "ray")
PROGRAM = """
import contextlib, io, json, sys
from zobench.cli import main
found = {}
for line in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = main(line.split())
    heavy = [name for name in HEAVY if name in sys.modules]
    found[line] = [status, len(out.getvalue()), heavy]
print(json.dumps(found))
"""


def test_commands_that_need_no_model_import_nothing_heavy(tmp_path):
    lines = ["--help", "--version", *(f"{name} --help" for name in COMMANDS)]
    lines += ["analyze activations --help", "ls", "ls estimators --json", "plugins", "show task sst2"]
    lines += [f"new task mine --directory {tmp_path}"]
    program = PROGRAM.replace("HEAVY", repr(HEAVY))
    done = subprocess.run([sys.executable, "-c", program, *lines], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert {line: (status, heavy) for line, (status, _, heavy) in found.items()} == {line: (0, []) for line in lines}
    assert all(size > 10 for _, size, _ in found.values())
    assert done.stderr == ""


MOST_MODULES = 250
"""What `--help` imports is what it waits for: about 160 modules, nearly all of them Python's and typer's."""


def test_help_imports_few_modules_and_of_its_own_only_the_frame():
    program = "import sys, runpy\nsys.argv = ['zobench', '--help']\n"
    program += "try:\n    runpy.run_module('zobench', run_name='__main__')\nexcept SystemExit:\n    pass\n"
    program += "print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "zobench [OPTIONS] COMMAND" in done.stdout
    found = done.stderr.split()
    assert len(found) < MOST_MODULES, len(found)
    own = {name for name in found if name.partition(".")[0].startswith("zobench")}
    assert own <= {
        "zobench",
        "zobench.__main__",
        "zobench.cli",
        "zobench.cli.faults",
        "zobench.errors",
        "zobench.redact",
    }, own
