"""The files of scores of the untouched model, `DIR/zero_shot/<hash>.json`: of what, the score, a checksum. Light.

zobench.run.zero_shot takes the scores, and says what they depend on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import disk
from .plain import canonical

FOLDER = "zero_shot"


def path_of(results: Path, of: Mapping[str, Any]) -> Path:
    """Where the score that depends on these facts lies."""
    return Path(results) / FOLDER / f"{hashlib.blake2b(canonical(of).encode(), digest_size=8).hexdigest()}.json"


def read(path: Path) -> dict[str, Any] | None:
    """What a file says (`of`, `run`, `score`), where it is whole and lies where its facts put it."""
    try:
        said = json.loads(path.read_bytes())
        sound = said.pop("sha256") == _digest(said) and path_of(path.parents[1], said["of"]).name == path.name
        return dict(said) if sound and isinstance(said["score"], dict) else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def write(path: Path, of: Mapping[str, Any], run: str | None, score: Mapping[str, Any]) -> None:
    """Write a score; where the system refuses there is none."""
    said = {"of": of, "run": run, "score": score}
    with contextlib.suppress(OSError):
        disk.write_text(path, json.dumps({**said, "sha256": _digest(said)}, indent=1) + "\n")


def _digest(said: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(said).encode()).hexdigest()
