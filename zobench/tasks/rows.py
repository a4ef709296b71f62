"""Items of a JSON Lines file, every line checked; and files of another kind, named as what they are. Light."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from .. import paths
from ..errors import ZobenchError

Item = Mapping[str, Any]
LONGEST = 16 * 2**20
"""Bytes of one line: more is no item but a file that has lost its line ends."""

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xfe\x00\x00", "UTF-32 text"),
    (b"\x00\x00\xfe\xff", "UTF-32 text"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
    (b"PAR1", "Parquet"),
    (b"ARROW1", "Arrow"),
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "a zip archive"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"SQLite format 3", "an SQLite database"),
    (b"version https://git-lfs", "a pointer of Git LFS"),
)
_ENDINGS = {".csv": "CSV", ".tsv": "TSV", ".parquet": "Parquet", ".arrow": "Arrow", ".json": "JSON"}
_ENDINGS |= {
    ".gz": "gzip",
    ".bz2": "bzip2",
    ".xz": "xz",
    ".zst": "Zstandard",
    ".zip": "a zip archive",
    ".ndjson": "JSON Lines",
}
_ENDINGS |= {".txt": "text", ".xml": "XML", ".jsonlines": "JSON Lines", ".jsonl": "JSON Lines", ".pkl": "a pickle"}
_UNPACK = {"gzip": "gunzip", "bzip2": "bunzip2", "xz": "unxz", "Zstandard": "unzstd", "a zip archive": "unzip"}
_PANDAS = {
    "CSV": "csv({!r})",
    "TSV": "csv({!r}, sep='\\t')",
    "Parquet": "parquet({!r})",
    "Arrow": "feather({!r})",
    "JSON": "json({!r})",
}
_OTHER_NAMES = {"train": ("training",), "validation": ("valid", "val", "dev", "test", "eval")}


def find(folder: Path, split: str, variant: str | None, task: str) -> Path:
    """The file of a split: `<split>.<variant>.jsonl`, else `<split>.jsonl`.

    Raises ZobenchError where there is neither, naming a file that was probably meant, its format and the mend.
    """
    names = ([f"{split}.{variant}.jsonl"] if variant else []) + [f"{split}.jsonl"]
    for name in names:
        if paths.is_file(folder / name, "the data file"):
            return folder / name
        if paths.is_folder(folder / name, "the data file"):
            raise ZobenchError(
                f"{folder / name}: a folder, no file; put the lines of the split into a file of this name"
            )
    said = f"task {task}: {folder} has no {' and no '.join(names)}"
    near = _near(folder, split)
    raise ZobenchError(said if near is None else f"{said}; {near.name} is there: {_mend(near, folder / names[-1])}")


def read(path: Path, check: Callable[[Item], Item]) -> tuple[list[Item], bytes]:
    """The items of a file, as `check` gives them, one JSON object a line, and the file's bytes.

    Empty lines are skipped, only a line feed ends a line, and the file may begin with a byte-order mark of UTF-8.
    Raises ZobenchError with file and line for what is no such object, and for what `check` refuses.
    """
    content = paths.read(path, "the data file")
    text = content.removeprefix(b"\xef\xbb\xbf")
    _check_format(path, text)
    items = []
    for number, line in enumerate(text.split(b"\n"), 1):
        if line.strip():
            where = f"{path}: line {number}"
            item = _item(line, where)
            try:
                items.append(check(item))
            except ZobenchError as e:
                said = str(e)
                raise ZobenchError(f"{where}{' ' if said.startswith('lacks') else ': '}{said}") from None
    if not items:
        raise ZobenchError(f"{path}: holds no items")
    return items, content


def _item(line: bytes, where: str) -> Item:
    if len(line) > LONGEST:
        raise ZobenchError(f"{where} is {len(line) / 2**20:.0f} MiB long; an item has at most {LONGEST >> 20} MiB")
    try:
        item = json.loads(line.decode("utf-8"), parse_constant=_no_number, object_pairs_hook=_pairs)
        if b"\\u" in line:  # an escape may be half of a pair, which is no text: no tokenizer takes it
            json.dumps(item, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as e:
        raise ZobenchError(f"{where} is not valid JSON: not UTF-8 text: {e.reason} at byte {e.start}") from None
    except UnicodeEncodeError as e:
        half = e.object[e.start]
        raise ZobenchError(f"{where} has half a letter (\\u{ord(half):04x} alone), which is no text") from None
    except ValueError as e:
        raise ZobenchError(f"{where} is not valid JSON: {e}") from None
    except RecursionError:
        raise ZobenchError(f"{where} is not valid JSON: nested too deeply") from None
    if not isinstance(item, dict):
        raise ZobenchError(f"{where} is not a JSON object with the item's fields")
    return item


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON's")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice!r} is there twice")
    return made


def _check_format(path: Path, content: bytes) -> None:
    """ZobenchError for a file that is named as JSON Lines and is something else."""
    kind = _format(content)
    if kind is not None:
        raise ZobenchError(
            f"{path}: line 1 is not valid JSON: the file is {kind}, not JSON Lines; {_how(kind, path, path)}"
        )


def _format(content: bytes) -> str | None:
    for magic, kind in _MAGIC:
        if content.startswith(magic):
            return kind
    head = content[:4096].lstrip()
    if b"\x00" in head[:64]:
        thirds = sum(1 for byte in head[:64] if not byte)
        return "UTF-32 text" if thirds > 40 else "UTF-16 text" if thirds > 20 else None
    if head.startswith(b"["):
        return "one JSON array" if _is_array(content) else None
    line = head.partition(b"\n")[0]
    if head[:1] not in (b"{", b"") and line.isascii() and line[:1].isalpha():
        return "TSV" if b"\t" in line else "CSV" if b"," in line else None
    return None


def _is_array(content: bytes) -> bool:
    """Whether it is an array of objects, rather than lines that are arrays."""
    return content.lstrip()[1:].lstrip().startswith(b"{")


def _near(folder: Path, split: str) -> Path | None:
    """A file that was probably meant: of the split's name with another ending, or of a name others give the split."""
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return None
    for stem in (split, *_OTHER_NAMES[split]):
        for path in files:
            if path.name.lower().partition(".")[0].split("-")[0] == stem and path.suffix.lower() in _ENDINGS:
                return path
    return None


def _mend(near: Path, wanted: Path) -> str:
    kind = _ENDINGS[near.suffix.lower()]
    if kind == "JSON Lines":
        return f"name it {wanted.name} if these are the lines of the split"
    return f"it is {kind}, not JSON Lines; {_how(kind, near, wanted)}"


def _how(kind: str, path: Path, wanted: Path) -> str:
    """How to make JSON Lines of it, in one command where there is one."""
    out = wanted.name if path != wanted else "new.jsonl"
    if kind.startswith("UTF-"):
        return f"iconv -f {kind.split()[0]} -t UTF-8 {path.name} > {'new.jsonl' if path == wanted else wanted.name}"
    if kind in _UNPACK:
        return f"unpack it with {_UNPACK[kind]}"
    if kind in ("one JSON array", "JSON"):
        return f"one object a line: jq -c '.[]' {path.name} > {out}"
    if kind in _PANDAS:
        return f"pandas.read_{_PANDAS[kind].format(path.name)}.to_json({out!r}, orient='records', lines=True) makes it"
    return "one JSON object a line is wanted" + ("; git lfs pull gets it" if "LFS" in kind else "")
