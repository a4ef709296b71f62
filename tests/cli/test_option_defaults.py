"""What every option of every command is where it is not given.

`python tests/cli/test_option_defaults.py` writes the file anew, after an option was added or a default meant to change.
"""

from __future__ import annotations

import json
from pathlib import Path

from zobench.cli import COMMANDS, _click_command

GOLDEN = Path(__file__).parents[1] / "golden" / "options.json"


def defaults():
    """By command, and of a group by subcommand, option -> its default."""
    made = {}
    for name in COMMANDS:
        command = _click_command([name]).commands[name]
        for under, one in getattr(command, "commands", {"": command}).items():
            told = f"{name} {under}".strip()
            made[told] = {p.name: getattr(p.default, "value", p.default) for p in one.params if p.name != "help"}
    return json.loads(json.dumps(made, default=str))


def test_a_command_does_what_it_did_where_nothing_is_said():
    golden, found = json.loads(GOLDEN.read_text(encoding="utf-8")), defaults()
    assert sorted(found) == sorted(golden)
    assert found == golden, "a default that changes is a change that CHANGELOG names"


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(defaults(), indent=1) + "\n", encoding="utf-8")
