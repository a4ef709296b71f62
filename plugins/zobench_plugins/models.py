"""Models of the hub that the benchmark is for: the commits that `--model ID` takes, so that later runs compare; and
what may be changed of any model while a cell runs.
"""

from __future__ import annotations

from collections.abc import Mapping

from zobench import hookimpl

from .transforms import TRANSFORMS

REVISIONS = {
    "meta-llama/Llama-2-7b-hf": "01c7f73d771dfac7d292323805ebc428287df4f9",
    "Qwen/Qwen3-8B": "b968826d9c46dd6066d109eabc6255188de91218",
}


@hookimpl
def zobench_revisions() -> Mapping[str, str]:
    """Of others the hub's newest is taken; the record says which it was."""
    return REVISIONS


@hookimpl
def zobench_transforms() -> Mapping[str, str]:
    """Names and homes; importing this module imports no torch."""
    return TRANSFORMS
