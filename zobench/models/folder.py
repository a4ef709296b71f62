"""From what the user named to a folder with a model's files: a folder as it is, or a snapshot of the hub."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import ZobenchError
from ..paths import is_file, is_folder, look
from . import gguf

REVISIONS = {
    "meta-llama/Llama-2-7b-hf": "01c7f73d771dfac7d292323805ebc428287df4f9",
    "Qwen/Qwen3-8B": "b968826d9c46dd6066d109eabc6255188de91218",
}
"""Pinned commits of the hub, used when no revision is asked for. Others take the hub's newest; the record has which."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "merges.txt")
_SETTINGS_FILES = ("config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_WANTED = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model", "spiece.model", "vocab.txt", "merges.txt"]
_UNWANTED = ["*/*", "consolidated*"]  # other formats of the same weights
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class ModelFolder:
    """A folder that holds a whole model: config, safetensors weights, tokenizer; or all of it in a GGUF file."""

    path: Path
    name: str
    """As the user named it; for a folder its last part."""
    revision: str
    """The hub's commit, or `sha256:` and 16 digits over a folder's files."""
    file: str | None = None
    """The name of the GGUF file in it that is the model."""
    facts: gguf.GgufFacts | None = None
    """What that file says of itself."""


def find(spec: str, *, revision: str | None = None, offline: bool = False) -> ModelFolder:
    """The folder of model `spec`: a path if there is such a folder or GGUF file, else a hub id, downloaded if need be.

    Raises ZobenchError when there is neither, when the hub cannot be reached or does not admit the user, and
    when a file that is needed is missing.
    """
    path = Path(os.path.expanduser(spec))
    if _looks_like_path(spec) or look(path, "--model") is not None:
        if revision is not None:
            raise ZobenchError(f"--model {spec}: a folder has no revisions; leave --revision {revision} out")
        folder = is_folder(path, "--model")
        file = gguf.inside(path) if folder else path if path.suffix == ".gguf" and is_file(path, "--model") else None
        if file is not None:
            return _gguf(file, spec)
        if not folder:
            raise ZobenchError(f"--model {spec}: " + ("not a folder" if path.exists() else "no such folder"))
        check(path, spec)
        return ModelFolder(path, Path(os.path.abspath(path)).name, "sha256:" + fingerprint(path))
    if not _HUB_ID.fullmatch(spec):
        raise ZobenchError(f"--model {spec}: neither a folder nor a hub id (OWNER/NAME)")
    snapshot = _download(spec, revision or REVISIONS.get(spec), offline)
    check(snapshot, spec)
    return ModelFolder(snapshot, spec, snapshot.name)


def _gguf(file: Path, spec: str) -> ModelFolder:
    facts = gguf.facts(file, spec)
    return ModelFolder(file.parent, file.name, "sha256:" + facts.sha256[:16], file.name, facts)


def check(folder: Path, spec: str) -> None:
    """ZobenchError for the first of config, safetensors weights and tokenizer that `folder` lacks."""
    if not (folder / "config.json").is_file():
        raise ZobenchError(f"--model {spec}: not a model folder: {folder} has no config.json")
    if not any(folder.glob("*.safetensors")):
        other = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".gguf", ".h5"))
        has = f"only {', '.join(other[:3])}" if other else "no weights"
        raise ZobenchError(
            f"--model {spec}: no *.safetensors in {folder} ({has}): weights are read from safetensors alone; "
            "convert them with save_pretrained, or name a --revision that has them"
        )
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ZobenchError(f"--model {spec}: no tokenizer in {folder}: copy its tokenizer.json and its config there")


def fingerprint(folder: Path) -> str:
    """16 hexadecimal digits of a sha256 over the names and bytes of weights, config and tokenizer files."""
    names = sorted(p.name for p in folder.glob("*.safetensors"))
    names += [n for n in (*_SETTINGS_FILES, *TOKENIZER_FILES) if (folder / n).is_file()]
    whole = hashlib.sha256()
    for name in names:
        with (folder / name).open("rb") as file:
            whole.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()[:16]


def weights_numel(folder: Path) -> int:
    """Elements in the folder's safetensors files, from their headers alone.

    Raises ZobenchError for a file that is none, or is cut short.
    """
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            try:
                header = json.loads(file.read(length) if length < path.stat().st_size else b"")
            except ValueError:
                raise ZobenchError(f"{path}: not a safetensors file; download or copy it again") from None
        header.pop("__metadata__", None)
        end = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if path.stat().st_size != end:
            raise ZobenchError(f"{path}: has {path.stat().st_size} bytes instead of {end}; download or copy it again")
        total += sum(math.prod(entry["shape"]) for entry in header.values())
    return total


def _looks_like_path(spec: str) -> bool:
    return spec.startswith(("/", ".", "~")) or spec.endswith("/") or spec.count("/") > 1 or "\\" in spec


def _download(spec: str, revision: str | None, offline: bool) -> Path:
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            spec, revision=revision, local_files_only=offline, allow_patterns=_WANTED, ignore_patterns=_UNWANTED
        )
    except Exception as error:
        fault = _hub_fault(spec, revision, offline, error)
        if fault is None:
            raise
        raise fault from error
    return Path(found)


def _hub_fault(spec: str, revision: str | None, offline: bool, error: Exception) -> ZobenchError | None:
    """What the hub's refusal means for the user; None for an error that is not the hub's or the network's."""
    from huggingface_hub import errors

    at = f" at revision {revision}" if revision else ""
    if isinstance(error, errors.GatedRepoError):
        why = f"is gated: ask for access at https://huggingface.co/{spec} and set HF_TOKEN to a token of that account"
    elif isinstance(error, errors.RevisionNotFoundError):
        why = f"has no revision {revision} on the hub"
    elif isinstance(error, errors.RepositoryNotFoundError):
        why = "is neither a folder nor on the hub (if it is private, set HF_TOKEN to a token that may read it)"
    elif isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        reach = "--offline was asked for" if offline else "the hub cannot be reached"
        why = f"is not in the local cache{at} and {reach}: give a folder, or run once with network"
    elif isinstance(error, errors.HFValidationError):
        why = "is neither a folder nor a hub id (OWNER/NAME)"
    elif isinstance(error, errors.HfHubHTTPError | OSError) or type(error).__module__.startswith("httpx"):
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        why = f"could not be downloaded{at}: {first}"
    else:
        return None
    return ZobenchError(f"--model {spec}: {why}")
