"""What answers without a model must be quick: no torch, no transformers, under a second."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

import pytest

from zobench.cli import COMMANDS, main
from zobench.deferred import put_off

HEAVY = ("torch", "transformers", "datasets", "evaluate", "scipy", "matplotlib", "peft", "ray")
PROGRAM = """
import contextlib, io, json, sys
from zobench.cli import main
found = []
for line in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = main(line.split())
    found.append([line, status, out.getvalue(), [name for name in HEAVY if name in sys.modules]])
import torch
from zobench_plugins.estimators.mezo import MeZO
assert issubclass(MeZO, torch.optim.Optimizer)
print(json.dumps(found))
"""
PLUGIN = """
import torch
from zobench import Estimator, hookimpl

class Odd(Estimator):
    "Its default is a number of torch's."
    reference, verified, forwards_per_step, state_per_parameter = "none", True, 2, 0.0
    tiny: float = torch.finfo(torch.float32).eps

class Undeclared(Estimator):
    "Says nothing of forwards and state: they are measured."

    def iterate(self, losses):
        z = self.noise()
        plus, minus = losses(1e-3 * z, -1e-3 * z)
        self.descend((plus - minus) / 2e-3 * z)
        return plus

@hookimpl
def zobench_estimators():
    return {"odd": Odd, "undeclared": Undeclared}
"""


@dataclass(frozen=True)
class Told:
    """What a process that has imported nothing answers: (line, exit status, text, what heavy was imported by then)."""

    light: list[tuple[str, int, str, list[str]]]
    same: list[tuple[str, int, str, list[str]]]
    stderr: str


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """One process for all lines; those that may import torch last, and after them torch is imported as it is."""
    folder = tmp_path_factory.mktemp("light")
    light = ["--help", "--version", *(f"{name} --help" for name in COMMANDS)]
    light += ["analyze activations --help", "ls", "ls estimators --json", "plugins", "show task sst2"]
    light += [f"new task mine --directory {folder}"]
    light += ["show estimator mezo", "show estimator hidden_probe", "show estimator mezo:lozo", "show directions lozo"]
    light += ["show selector first_outlier+layer:2", "show transform clamp", "show executor local", "show preset paper"]
    file = folder / "odd.py"
    file.write_text(PLUGIN)
    same = ["ls --markdown", "show estimator zo_fine_tuner", "show selector outlier_channels"]
    same += [f"show estimator odd --plugin {file}", f"show estimator undeclared --plugin {file}"]
    program = PROGRAM.replace("HEAVY", repr(HEAVY))
    done = subprocess.run([sys.executable, "-c", program, *light, *same], capture_output=True, text=True, check=True)
    found = [tuple(one) for one in json.loads(done.stdout)]
    return Told(found[: len(light) + 1], found[len(light) :], done.stderr)


def test_commands_that_need_no_model_import_nothing_heavy(told):
    assert [(line, status, heavy) for line, status, _, heavy in told.light if status or heavy] == []
    assert told.light[-1][0] == "ls --markdown" and len(told.light) > len(COMMANDS) + 10
    assert all(len(text) > 10 for _, _, text, _ in told.light)
    assert told.stderr == ""


def test_a_program_that_runs_is_no_module_being_imported():
    """Else nothing that was put off is used where it is called, and what has to be measured is not."""
    with put_off("wave", imports=False) as deferral:
        assert not deferral.importing()


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


def test_what_is_told_without_torch_is_what_is_told_with_it(told, capsys):
    import torch  # noqa: F401 - this process has it

    without = {line: text for line, _, text, _ in told.same}
    assert not told.same[2][3], "the first three are told without"
    for line, text in without.items():
        assert main(line.split()) == 0
        assert capsys.readouterr().out == text, line
    odd, undeclared = list(without)[-2:]
    assert "1.19" in without[odd] and "measured" in without[undeclared]


def test_at_its_end_a_process_looks_through_none_of_what_it_is_to_forget():
    program = "import atexit, gc, sys\nfrom zobench.cli import main\nsys.argv = ['zobench', '--version']\n"
    last = "atexit.register(lambda: print(gc.get_freeze_count()))\n"
    for command, frozen in (("main()", True), ("main(['--version'])", False)):
        done = subprocess.run([sys.executable, "-c", program.replace("sys\n", "sys\n" + last) + command],
                              capture_output=True, text=True, check=True)  # fmt: skip
        assert (int(done.stdout.split()[-1]) > 10_000) == frozen, "a caller's objects are the caller's"
