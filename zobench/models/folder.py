"""From what the user named to a folder with a model's files: a folder as it is, or a snapshot of the hub."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ZobenchError
from ..paths import is_file, is_folder, look
from . import gguf
from .weights import INDEX, WHOLE, Stored, entries, read_headers, read_json, weight_files

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "merges.txt")
_RARE_TOKENIZER_FILES = (
    *("sentencepiece.bpe.model", "sentencepiece.model", "source.spm", "target.spm", "bpe.codes", "vocab.bpe"),
    *("prophetnet.tokenizer", "tekken.json", "normalizer.json", "vocab.model"),
)
_VERSIONED_TOKENIZER = re.compile(r"tokenizer\.\d[\w.]*\.json")
_COUNT = re.compile(r"layer|block|expert|head|group|stage|codebook|depth")
_MOST_PARTS = 100_000
_MOST_OF_NONE = 1000  # some sizes have "layer" or "block" in their names: sizes of blocks of attention, of chunks
ADAPTER = "adapter_config.json"
_SETTINGS_FILES = ("config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_WEIGHTS = "*.safetensors"
_WANTED = [_WEIGHTS, "*.json", "*.jinja", "tokenizer.model", "spiece.model", "vocab.txt", "merges.txt"]
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
    stored: Mapping[str, Stored] = field(default_factory=dict)
    """The tensors of its safetensors files, by their headers."""
    file: str | None = None
    """The name of the GGUF file in it that is the model."""
    facts: gguf.GgufFacts | None = None
    """What that file says of itself."""


def find(
    spec: str,
    *,
    revision: str | None = None,
    offline: bool = False,
    pinned: str | None = None,
    weights: bool = True,
) -> ModelFolder:
    """The folder of model `spec`: a path if there is such a folder or GGUF file, else a hub id, downloaded if need be.

    pinned: the commit of the hub where no revision is asked for; None takes its newest. A folder has neither.
    weights: False: of the hub config and tokenizer alone are downloaded and looked at, and no tensor is known.

    Raises ZobenchError when there is neither, when the hub cannot be reached or does not admit the user, and
    when a file that is needed is missing, is no file, or is not clearly of this model.
    """
    if not spec.isprintable():
        raise ZobenchError(f"--model {spec!r}: its name has letters that cannot be printed; rename the folder")
    path = Path(os.path.expanduser(spec))
    if _looks_like_path(spec) or look(path, "--model") is not None:
        if revision is not None:
            raise ZobenchError(f"--model {spec}: a folder has no revisions; leave --revision {revision} out")
        folder = is_folder(path, "--model")
        with told(spec):
            file = gguf.inside(path) if folder else None
        if not folder and gguf.is_one(path, "--model"):
            file = path
        if file is not None and is_file(file, "--model"):
            return _gguf(file, spec)
        if not folder:
            there = "not a folder and no GGUF file" if path.exists() else "no such folder or file"
            raise ZobenchError(f"--model {spec}: {there}")
        name = Path(os.path.abspath(path)).name
        if not name.isprintable():
            raise ZobenchError(f"--model {spec!r}: its name has letters that cannot be printed; rename the folder")
        with told(spec):
            files, stored = check(path)
            return ModelFolder(path, name, "sha256:" + fingerprint(path, files), stored)
    if not _HUB_ID.fullmatch(spec):
        raise ZobenchError(f"--model {spec}: neither a folder nor a hub id (OWNER/NAME)")
    snapshot = _download(spec, revision or pinned, offline, weights=weights)
    if weights and offline and not any(snapshot.glob(_WEIGHTS)):
        raise ZobenchError(
            f"--model {spec}: the local cache has its config and no weights (*.safetensors), and --offline was asked "
            f"for: run once with network, or `zobench fetch --models {spec}`"
        )
    with told(spec):
        return ModelFolder(snapshot, spec, snapshot.name, check(snapshot)[1] if weights else check_settings(snapshot))


def _gguf(file: Path, spec: str) -> ModelFolder:
    facts = gguf.facts(file, spec)
    return ModelFolder(file.parent, file.name, "sha256:" + facts.sha256[:16], {}, file.name, facts)


@contextmanager
def told(spec: str) -> Iterator[None]:
    """Errors of the files inside name the option, in one line."""
    try:
        yield
    except ZobenchError as error:
        raise ZobenchError(f"--model {spec}: " + " ".join(str(error).split())) from error
    except RecursionError as error:
        raise ZobenchError(f"--model {spec}: a file of its settings is nested too deeply; copy it again") from error


def check(folder: Path) -> tuple[list[str], dict[str, Stored]]:
    """The weights' files of a folder that has config, weights and tokenizer, and the tensors in them.

    ZobenchError for the first that is missing, is no file or cannot be read, and where it is not clear what the model
    is made of.
    """
    config = _config(folder)
    weights = weight_files(folder)
    stored = read_headers(folder, weights)
    check_counts(config, len(stored), folder / "config.json")
    _check_tokenizer(folder)
    return weights, stored


def check_settings(folder: Path) -> dict[str, Stored]:
    """As `check` where the weights are elsewhere yet: of config and tokenizer alone, and no tensor is known."""
    config = _config(folder)
    index = read_json(folder / INDEX, "the weights' index") if is_file(folder / INDEX, "the weights' index") else {}
    named = index.get("weight_map")
    check_counts(config, len(named) if isinstance(named, dict) else 0, folder / "config.json")
    _check_tokenizer(folder)
    return {}


def _check_tokenizer(folder: Path) -> None:
    """ZobenchError where there is none."""
    if not any(is_file(folder / name, "the tokenizer's") for name in TOKENIZER_FILES):
        raise ZobenchError(f"no tokenizer in {folder}: copy its tokenizer.json and its config there")


def _config(folder: Path) -> dict[str, Any]:
    """What the folder's config says. ZobenchError where it is none of a whole model without an adapter."""
    for entry in entries(folder):
        is_file(entry, "the model's")  # which refuses pipes and devices: opening one could wait for ever
    adapter = look(folder / ADAPTER, "the adapter's") is not None
    if not is_file(folder / "config.json", "the model's"):
        if adapter:
            raise ZobenchError(
                f"{folder} holds an adapter and no model: merge it into its base model (peft's merge_and_unload) "
                "and save that"
            )
        raise ZobenchError(f"not a model folder: {folder} has no config.json")
    if adapter:
        raise ZobenchError(
            f"{folder} has an {ADAPTER} beside config.json, and would be loaded with that adapter on top: move the "
            "adapter's files away if it is merged, else merge it (peft's merge_and_unload) and save that"
        )
    facts: dict[str, dict[str, Any]] = {}
    for name in _SETTINGS_FILES:
        if is_file(folder / name, "the model's"):
            facts[name] = read_json(folder / name, "the model's")
    config: dict[str, Any] = facts["config.json"]
    if config.get("transformers_weights") is not None:
        raise ZobenchError(
            f"{folder}/config.json: names weights of its own (transformers_weights); remove that entry, and name the "
            "weights model.safetensors"
        )
    _check_no_code(config, folder / "config.json")
    return config


def _check_no_code(facts: Mapping[str, Any], path: Path) -> None:
    """ZobenchError for a config that names kernels of the hub, which transformers would fetch and run."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            _check_no_code(value, path)
        elif name.endswith("_implementation") and isinstance(value, str) and "/" in value:
            raise ZobenchError(
                f"{path}: names code of the hub, which is never run ({name}: {value}); remove that entry"
            )


def check_counts(facts: Mapping[str, Any], tensors: int, path: Path) -> None:
    """ZobenchError for more layers than the files have tensors, or more parts of one than any model has.

    Such a number would be built, module by module, before weights are found to be missing.
    """
    for name, value in facts.items():
        if isinstance(value, Mapping):
            check_counts(value, tensors, path)
        kind = _COUNT.search(name) if type(value) is int else None
        most = tensors if kind and kind[0] in ("layer", "block") else _MOST_PARTS
        if kind and value > max(most, _MOST_OF_NONE):
            raise ZobenchError(f"{path}: {name} is {value}, and the files hold {tensors} tensors; copy it again")


def fingerprint(folder: Path, weights: Sequence[str] = ()) -> str:
    """16 hexadecimal digits of a sha256 over the names and bytes of all that a model is loaded from.

    Of a folder without an index: its *.safetensors, config and tokenizer files. An index, what it names elsewhere,
    and further files of tokenizers come after these.
    """
    names = sorted(p.name for p in folder.glob("*.safetensors") if is_file(p, "the model's"))
    names += [n for n in (*_SETTINGS_FILES, *TOKENIZER_FILES) if is_file(folder / n, "the model's")]
    if list(weights) not in ([], [WHOLE]):
        names += [INDEX, *(name for name in weights if name not in names)]
    names += _further_tokenizer_files(folder)
    whole = hashlib.sha256()
    for name in names:
        try:
            with (folder / name).open("rb") as file:
                whole.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        except OSError as error:
            raise ZobenchError(f"{folder / name}: cannot be read: {error.strerror}") from None
    return whole.hexdigest()[:16]


def _further_tokenizer_files(folder: Path) -> list[str]:
    """What a tokenizer is read from beside, or instead of, the usual files."""
    there = sorted(p.name for p in entries(folder) if is_file(p, "the tokenizer's"))
    out = [name for name in there if _VERSIONED_TOKENIZER.fullmatch(name)]  # tokenizer_config.json can name them
    return out if "tokenizer.json" in there else out + [name for name in there if name in _RARE_TOKENIZER_FILES]


def weights_numel(folder: Path) -> int:
    """Elements in the model's safetensors files, from their headers alone.

    Raises ZobenchError for a file that is none, or is cut short.
    """
    return sum(stored.numel for stored in read_headers(folder, weight_files(folder)).values())


def _looks_like_path(spec: str) -> bool:
    marks = spec.startswith(("/", ".", "~")), spec.endswith("/"), spec.count("/") > 1, "\\" in spec
    return any(marks) or spec.lower().endswith(".gguf")


def _download(spec: str, revision: str | None, offline: bool, *, weights: bool) -> Path:
    from huggingface_hub import snapshot_download

    unwanted = _UNWANTED if weights else [*_UNWANTED, _WEIGHTS]
    try:
        found = snapshot_download(
            spec, revision=revision, local_files_only=offline, allow_patterns=_WANTED, ignore_patterns=unwanted
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
