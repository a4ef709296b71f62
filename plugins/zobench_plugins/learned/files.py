"""Files of learned tensors: safetensors, with the kind of their content and the facts of their making in the header."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from zobench import ZobenchError


def write(path: str | Path, kind: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    """Write the file, in whole or not at all; returns its SHA-256 in hex. `facts`: what JSON knows.

    Raises ZobenchError where it cannot be written.
    """
    target = Path(path)
    half = target.with_name(target.name + ".part")
    try:
        save_file(
            {name: t.detach().cpu().contiguous() for name, t in tensors.items()},
            half,
            metadata={"kind": kind, "facts": json.dumps(facts, allow_nan=False)},
        )
        os.replace(half, target)
    except (OSError, SafetensorError) as e:
        half.unlink(missing_ok=True)
        raise ZobenchError(f"{target} cannot be written: {e}") from e
    return sha256_of(target)


def read(path: str | Path, kind: str, sha256: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, on the CPU, and the facts.

    Raises ZobenchError for a file that is not there, is of another kind, or whose SHA-256 does not begin with `sha256`.
    """
    source = Path(path)
    if not source.is_file():
        raise ZobenchError(f"{source}: no such file; make one with python -m zobench_plugins.learned {kind}")
    try:
        with safe_open(source, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    except (OSError, SafetensorError) as e:
        raise ZobenchError(f"{source} is no safetensors file: {e}") from e
    if header.get("kind") != kind:
        raise ZobenchError(f"{source} holds {header.get('kind') or 'something else'}, not {kind}")
    digest = sha256_of(source)
    if not digest.startswith(sha256.lower()):
        raise ZobenchError(f"{source} has SHA-256 {digest[:16]}..., not {sha256[:16]}...: it is another file")
    try:
        return tensors, json.loads(header["facts"])
    except (KeyError, ValueError, RecursionError) as e:
        raise ZobenchError(f"{source} does not say how it was made; make it again") from e


def sha256_of(path: Path) -> str:
    """Of the file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
