"""Models in one GGUF file (llama.cpp's format): weights, config and tokenizer, read by transformers' own reader.

Quantised tensors are de-quantised as they are read, so what moves are the numbers that the file stands for. The package
`gguf` (the extra `zobench[gguf]`) reads the file's own facts.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from ..errors import ZobenchError
from ..paths import is_file
from .weights import entries

_DAMAGED = (ValueError, KeyError, IndexError, TypeError, OverflowError, struct.error)
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of the plain types of the format's metadata, by their numbers in the file."""
_STRING, _ARRAY = 8, 9
_PART = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<parts>\d{5})\.gguf", re.IGNORECASE)
"""How llama.cpp names the parts of a model that it splits."""


@dataclass(frozen=True)
class GgufFacts:
    """What a GGUF file says of itself."""

    sha256: str
    """Of the file's bytes, 64 hexadecimal digits."""
    architecture: str
    """As llama.cpp names it: llama, qwen2, ..."""
    numel: int
    """Elements of all tensors."""
    tensors: dict[str, int]
    """How many tensors the file holds of each type: Q4_1, F16, F32, ..."""

    def record(self, name: str) -> dict[str, Any]:
        """As it stands in a record, under `weights`."""
        return {"file": name, "format": "gguf", "sha256": self.sha256, "tensors": dict(sorted(self.tensors.items()))}


def facts(path: Path, spec: str) -> GgufFacts:
    """Read a GGUF file's header and hash its bytes.

    Raises ZobenchError, one line, where the package `gguf` is missing, the file cannot be read, or it is damaged.
    """
    try:
        from gguf import GGUFReader
    except ImportError:
        raise ZobenchError(f"--model {spec}: GGUF files need the package gguf: pip install 'zobench[gguf]'") from None
    part = _PART.match(path.name)
    if part and int(part["parts"]) > 1:
        raise ZobenchError(
            f"--model {spec}: {path.name} is one part of {int(part['parts'])}: join them with llama.cpp's "
            f"`llama-gguf-split --merge {path.name} {part['stem']}.gguf`"
        )
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            _walk(file)
        reader = GGUFReader(path)
        architecture = bytes(reader.fields["general.architecture"].parts[-1]).decode()
        blocks = {t.name.split(".")[1] for t in reader.tensors if t.name.startswith("blk.")}
        said = reader.fields.get(f"{architecture}.block_count")
        if said is not None and int(said.parts[-1][0]) != len(blocks):
            raise ValueError(f"{len(blocks)} blocks of tensors, {said.parts[-1][0]} by the header")
        numel = sum(int(t.n_elements) for t in reader.tensors)
        kinds = Counter(t.tensor_type.name for t in reader.tensors)
    except OSError as error:
        raise ZobenchError(f"--model {spec}: cannot read {path}: {error.strerror or error}") from error
    except _DAMAGED as error:
        raise ZobenchError(f"--model {spec}: {path} is not a whole GGUF file; download or copy it again") from error
    if not kinds:
        raise ZobenchError(f"--model {spec}: {path} holds no tensors: it is a vocabulary, not a model")
    return GgufFacts(digest, architecture, numel, dict(kinds))


def _walk(file: IO[bytes]) -> None:
    """ValueError unless every length in the header fits into the file: readers take them at their word, and one flipped
    bit makes them ask for terabytes. Layout: version 2 and 3 of ggml's docs/gguf.md, little-endian.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(0)

    def number(format: str) -> int:
        return int(struct.unpack(format, file.read(struct.calcsize(format)))[0])

    def skip(n: int) -> None:
        if n > size - file.tell():
            raise ValueError(f"{n} bytes at {file.tell()} of {size}")
        file.seek(n, os.SEEK_CUR)

    def value(kind: int) -> None:
        if kind == _STRING:
            skip(number("<Q"))
        elif kind == _ARRAY:
            inner, n = number("<I"), number("<Q")
            if inner in _SIZES:
                skip(n * _SIZES[inner])
            elif inner != _STRING or n > size:
                raise ValueError(f"an array of {n} of type {inner}")
            else:
                for _ in range(n):
                    skip(number("<Q"))
        else:
            skip(_SIZES[kind])

    if file.read(4) != b"GGUF" or number("<I") not in (2, 3):
        raise ValueError("no GGUF file of version 2 or 3")
    tensors, keys = number("<Q"), number("<Q")
    if max(tensors, keys) > size:
        raise ValueError(f"{tensors} tensors and {keys} keys in {size} bytes")
    for _ in range(keys):
        skip(number("<Q"))
        value(number("<I"))
    for _ in range(tensors):
        skip(number("<Q"))
        dimensions = number("<I")
        skip(8 * dimensions + 4 + 8)


def is_one(path: Path, said: str) -> bool:
    """Whether a GGUF file lies there: by its name, or by its first bytes where it is named otherwise.

    Raises ZobenchError as `paths.is_file` does, and where it cannot be read.
    """
    if not is_file(path, said):
        return False
    if path.suffix.lower() == ".gguf":
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) == b"GGUF"
    except OSError as error:
        raise ZobenchError(f"{said} {path}: cannot be read: {error.strerror}") from error


def inside(folder: Path) -> Path | None:
    """The GGUF file of a folder that has no weights of another kind and one such model; else None.

    Raises ZobenchError where the folder holds several, one of which is to be named. What projects images into the
    model's space (llama.cpp's `mmproj` files) is no model.
    """
    files = entries(folder)
    if any(p.suffix == ".safetensors" for p in files):
        return None
    found = sorted(p for p in files if p.suffix.lower() == ".gguf" and "mmproj" not in p.name.lower())
    parts = {part["stem"] for part in (_PART.match(p.name) for p in found) if part}
    if len(found) > 1 and not (len(parts) == 1 and all(_PART.match(p.name) for p in found)):
        several = ", ".join(p.name for p in found[:3]) + (", ..." if len(found) > 3 else "")
        raise ZobenchError(f"{folder} holds {len(found)} GGUF files ({several}): name one, --model {found[0]}")
    return found[0] if found else None


def reading(name: str) -> dict[str, Any]:
    """Arguments of `from_pretrained` that make plain floating-point weights of the file `name`.

    Earlier releases of transformers always de-quantise; later ones keep the file's blocks unless they are told to.
    """
    import transformers

    if not hasattr(transformers, "GgufConfig"):
        return {}
    return {"quantization_config": transformers.GgufConfig(gguf_file=name, dequantize=True)}


@contextmanager
def without_bar() -> Iterator[None]:
    """Without the bar of transformers' reader, which no setting turns off once it is imported."""
    reader = sys.modules.get("transformers.modeling_gguf_pytorch_utils")
    if reader is None or not hasattr(reader, "tqdm"):
        yield
        return
    shown = reader.tqdm
    setattr(reader, "tqdm", partial(shown, disable=True))  # noqa: B010  # a module of a library, not ours to type
    try:
        yield
    finally:
        setattr(reader, "tqdm", shown)  # noqa: B010


def plain(model: Any) -> None:
    """Take off what says that the model is quantised: its weights are plain now."""
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
