"""What a record says of how its numbers were computed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from zobench.run.computed import of_forwards


@pytest.mark.parametrize(
    ("rows", "cuts", "together", "said"),
    [
        ("packed", True, 512, {"last_block": "answers", "scored_in": "tokens"}),
        ("packed", True, 0, {"last_block": "answers"}),
        ("packed", False, 0, {}),
        ("shared", True, 512, {"scored_in": "tokens"}),
        ("replicated", True, 0, {}),
    ],
)
@pytest.mark.parametrize("at", [None, 3])
def test_of_forwards_it_says_what_they_pass_over(rows, cuts, together, said, at):
    prefix = None if at is None else SimpleNamespace(at=at)
    forward = SimpleNamespace(cuts_the_last_block=cuts)
    prepared = SimpleNamespace(rows=rows, prefix=prefix, forward=forward, tokens_together=together)
    assert of_forwards(prepared) == {"rows": rows, "prefix": at, **said}
