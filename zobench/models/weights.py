"""The safetensors files of a model folder: which of them are the model's, and what their headers say. No torch.

Everything that reads weights asks here first, so that a file that is none, or none of this folder's, is told in a line.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import ZobenchError
from ..paths import is_file, look, read

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
_LONGEST_HEADER = 100_000_000  # bytes; what the safetensors library allows
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_DTYPE = re.compile(r"BOOL|(BF|[FIUC])(?P<bits>\d{1,3})(_E\dM\d[A-Z]*)?")
_FEW = 3  # names in a message


@dataclass(frozen=True)
class Stored:
    """A tensor of a file, by its header."""

    dtype: str
    """As safetensors has it: F32, BF16, I8, ..."""
    shape: tuple[int, ...]
    file: Path

    @property
    def numel(self) -> int:
        """Its elements."""
        return math.prod(self.shape)


def weight_files(folder: Path) -> list[str]:
    """The safetensors files that the model in `folder` is made of, as paths in it, sorted.

    They are model.safetensors, or those that model.safetensors.index.json names. Raises ZobenchError where there are
    none, where both are there and differ, and for an index that is none, or names what is missing or is elsewhere.
    """
    there = sorted(p.name for p in entries(folder) if p.suffix == ".safetensors")
    if not there:
        other = sorted(p.name for p in entries(folder) if p.suffix in (".bin", ".pt", ".pth", ".gguf", ".h5"))
        has = f"only {_some(other)}" if other else "no weights"
        raise ZobenchError(
            f"no *.safetensors in {folder} ({has}): weights are read from safetensors alone; "
            "convert them with save_pretrained, or name a --revision that has them"
        )
    indexed = read_index(folder) if look(folder / INDEX, "the weights' index") is not None else None
    if WHOLE not in there:
        if indexed is None:
            raise ZobenchError(
                f"{folder} has {_some(there)}, but neither {WHOLE} nor {INDEX}, which tells what belongs to the model; "
                "save it again with save_pretrained"
            )
        return indexed
    shards = [name for name in there if _SHARD.fullmatch(name)]
    others = [INDEX] if indexed is not None and indexed != [WHOLE] else shards
    if others:
        raise ZobenchError(
            f"{folder} holds two sets of weights, {WHOLE} and {_some(others)}: which are the model's is not known; "
            "move one of them away"
        )
    return [WHOLE]


def read_index(folder: Path) -> list[str]:
    """The files that the folder's index names, sorted; each is inside the folder and there."""
    path = folder / INDEX
    index = read_json(path, "the weights' index")
    of = index.get("weight_map")
    if not isinstance(of, dict) or not of or not all(isinstance(name, str) and name for name in of.values()):
        raise ZobenchError(f"{path}: no index of weights: it needs weight_map, from tensors to files; copy it again")
    if not isinstance(index.get("metadata"), dict):
        raise ZobenchError(f'{path}: no index of weights: it needs "metadata", an object; save the model again')
    names = sorted(set(of.values()))
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if ".." in parts or name.startswith(("/", "\\")) or ":" in parts[0]:
            raise ZobenchError(f"{path}: names {name!r}, outside the folder; copy that file into it and name it so")
        if not name.endswith(".safetensors"):
            raise ZobenchError(f"{path}: names {name!r}, which is no *.safetensors; save the model again")
        if not is_file(folder / name, "the weights'"):
            raise ZobenchError(f"{path}: names {name}, which is not there; copy or download it too")
    return names


def read_headers(folder: Path, names: Sequence[str]) -> dict[str, Stored]:
    """The tensors of these files by name. ZobenchError as `read_header`, and for a tensor that two files have."""
    out: dict[str, Stored] = {}
    for name in names:
        for tensor, stored in read_header(folder / name).items():
            if tensor in out:
                raise ZobenchError(f"{folder}: tensor {tensor} is in {name} and in another file; save the model again")
            out[tensor] = stored
    return out


def read_header(path: Path) -> dict[str, Stored]:
    """The tensors of one safetensors file by name, without reading them.

    Raises ZobenchError, one line, for what is no file or cannot be read, is no safetensors file, or is cut short.
    """
    if not is_file(path, "the weights"):
        raise ZobenchError(f"{path}: " + ("a folder, no file" if look(path, "the weights") else "no such file"))
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            content = file.read(length) if length <= min(size - 8, _LONGEST_HEADER) else b""
    except OSError as error:
        raise ZobenchError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        header = json.loads(content, object_pairs_hook=_once, parse_constant=_no_constant)
        end, out = _tensors(header, path)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        why = f": {why}" if content and not isinstance(error, json.JSONDecodeError | UnicodeDecodeError) else ""
        raise ZobenchError(f"{path}: not a safetensors file{why}; download or copy it again") from None
    if size != 8 + length + end:
        raise ZobenchError(f"{path}: has {size} bytes instead of {8 + length + end}; download or copy it again")
    return out


def _tensors(header: Any, path: Path) -> tuple[int, dict[str, Stored]]:
    """(bytes after the header, tensors). ValueError, TypeError or KeyError for what safetensors does not allow."""
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    facts = header.pop("__metadata__", {})
    if not isinstance(facts, dict) or not all(isinstance(value, str) for value in facts.values()):
        raise ValueError("its __metadata__ is not of texts")
    out, spans = {}, []
    for name, entry in header.items():
        if not isinstance(entry, dict) or not {*entry} >= {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"tensor {name[:80]!r} has no dtype, shape and data_offsets")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2 or not isinstance(dtype, str):
            raise ValueError(f"tensor {name[:80]!r} has an odd dtype, shape or data_offsets")
        known = _DTYPE.fullmatch(dtype)
        bits = int(known["bits"] or 8) if known else 0
        if not bits or math.prod(shape) * bits != 8 * (offsets[1] - offsets[0]):
            raise ValueError(f"tensor {name[:80]!r} of {dtype[:20]} and shape {shape[:8]} has other bytes than that")
        spans.append(offsets)
        out[name] = Stored(dtype, tuple(shape), path)
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise ValueError("its tensors overlap, or leave a gap")
        end = stop
    return end, out


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [name for name, n in Counter(name for name, _ in pairs).items() if n > 1]
    if twice:
        raise ValueError(f"{twice[0][:80]!r} is in its header twice")
    return dict(pairs)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} in its header")


def read_json(path: Path, said: str) -> dict[str, Any]:
    """The object in a JSON file. ZobenchError for what is no file, cannot be read, or holds anything else."""
    try:
        value = json.loads(read(path, said).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ZobenchError(f"{path}: not valid JSON in UTF-8: {why}; copy or download it again") from None
    if not isinstance(value, dict):
        raise ZobenchError(f"{path}: holds no JSON object; copy or download it again")
    return value


def entries(folder: Path) -> list[Path]:
    """What lies in a folder. ZobenchError where that cannot be read."""
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise ZobenchError(f"{folder}: cannot be read: {error.strerror}") from None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_FEW]) + (f" and {len(names) - _FEW} more" if len(names) > _FEW else "")
