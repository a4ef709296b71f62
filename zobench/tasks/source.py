"""Where items come from: the data hub, a folder of JSONL files, or a plugin's own data.

Light: `datasets` is imported only when the hub is asked.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, cast

from ..errors import ZobenchError, library, said, unknown
from ..paths import read
from . import rows
from .task import Task

Items: TypeAlias = Sequence[Mapping[str, Any]]


class DataSource:
    """Data of tasks that a plugin brings: a subclass, registered under a name (hook `zobench_data_sources`).

    The name is what `LoadedModel.data` says, and what stands in records.
    """

    nature: ClassVar[str] = ""  # what the data are, in a word that boards show in bold: synthetic, translated, private
    about: ClassVar[str] = ""  # what else a reader of a board must know: the end of a sentence, without its stop

    name: str = ""
    """The name that it is registered under."""

    def tasks(self) -> Collection[str]:
        """The names of the tasks that it has data of."""
        raise NotImplementedError

    def items(self, task: str) -> tuple[Items, Items, Mapping[str, Any]]:
        """The training and the validation pool of a task, in a fixed order, and their provenance.

        Items are mappings of the task's fields. The provenance goes into the record as JSON, and a hash of it into the
        cell's identity: count a version up whenever the items change.
        """
        raise NotImplementedError

    def describe(self, task: str) -> Mapping[str, str]:
        """Facts about its data of a task, for `zobench show task`."""
        return {}


HUB = "hub"
Where: TypeAlias = "str | Path | DataSource"
"""Where to look for data: `HUB`, a folder with one of each task, or a plugin's source."""

MADE = "made.json"
"""Beside items that were made from a table: from which, and how they were split. It goes into the record."""


@dataclass(frozen=True)
class Pools:
    """All items of a task, in their source's order: what samples are drawn from. `provenance` goes into the record."""

    train: Items
    validation: Items
    data: str  # hub | folder | the name of a plugin's source
    provenance: dict[str, Any] = field(default_factory=dict)


def load_pools(task: Task, where: Where, *, offline: bool = False) -> Pools:
    """The pools of a task from `where`: the hub, a plugin's source, or the folder that holds `<task>/train.jsonl`.

    Data that the task brings itself go before the hub's and a plugin's, not before a folder that has some of it.

    `offline`: the hub's local cache only (also with HF_HUB_OFFLINE or HF_DATASETS_OFFLINE set).
    Raises ZobenchError where the data cannot be had or items lack fields that the task needs.
    """
    own = task.source.folder
    named = isinstance(where, DataSource) or where == HUB
    if own is not None and (named or not (Path(cast("str | Path", where)) / task.name).is_dir()):
        return _own(task, own)
    if isinstance(where, DataSource):
        pools = _of_plugin(task, where)
    elif where == HUB:
        pools = _hub(task, offline)
    else:
        return _of_root(task, Path(where))  # which has checked every line, and can name the file
    for name, pool in (("train", pools.train), ("validation", pools.validation)):
        _check(task, pool, f"task {task.name}: the {pools.data} split {name}")
    return pools


def _check(task: Task, pool: Sequence[Mapping[str, Any]], where: str) -> None:
    """ZobenchError for a split that is empty, or lacks fields, or whose items have values that the task does not know.

    All rows of fields with known values, by column where the pool has columns; of the other fields the first row.
    """
    if not len(pool):
        raise ZobenchError(f"{where} is empty")
    absent = task.source.missing(pool[0])
    if absent:
        raise ZobenchError(f"{where} lacks the fields {', '.join(absent)}; it has {', '.join(sorted(pool[0]))}")
    unique: Callable[[str], list[Any]] | None = getattr(pool, "unique", None)
    try:
        task.source.read(pool[0])
    except ZobenchError as e:
        raise ZobenchError(f"{where}: item 0: {e}") from None
    for values in task.source.values:
        if not values.known or values.field not in pool[0]:
            continue
        found = (
            enumerate(item.get(values.field) for item in pool) if unique is None else enumerate(unique(values.field))
        )
        for index, value in found:
            try:
                values.read({values.field: value})
            except ZobenchError as e:
                raise ZobenchError(f"{where}: {e}" if unique else f"{where}: item {index}: {e}") from None


# ---- a folder


def _own(task: Task, folder: Path) -> Pools:
    """The data that the task brings."""
    if not folder.is_dir():
        raise ZobenchError(f"task {task.name}: no data in {folder}, which it names as its own: there is no such folder")
    return _folder(task, folder)


def _of_root(task: Task, root: Path) -> Pools:
    folder = root / task.name
    if not folder.is_dir():
        near = [p.name for p in root.iterdir() if p.is_dir()] if root.is_dir() else []
        reason = unknown("folder", task.name, near) if near else "there is no such folder"
        raise ZobenchError(
            f"task {task.name}: no data in {folder}: {reason}; --data-dir wants <task>/train.jsonl and validation.jsonl"
        )
    return _folder(task, folder)


def _folder(task: Task, folder: Path) -> Pools:
    pools, files = [], {}
    for split in ("train", "validation"):
        path = rows.find(folder, split, task.source.variant, task.name)
        items, content = rows.read(path, task.source.read)
        pools.append(items)
        files[split] = {
            "file": f"{task.name}/{path.name}",
            "sha256": hashlib.sha256(content).hexdigest(),
            "rows": len(items),
        }
    if (made := folder / MADE).is_file():  # made from a table: from which, and how it was split
        files["made"] = _made(made)
    return Pools(pools[0], pools[1], "folder", files)


def _made(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(read(path, "what the data were made from"))
    except ValueError as e:
        raise ZobenchError(f"{path}: not JSON: {e}") from None
    if not isinstance(said, dict):
        raise ZobenchError(f"{path}: no object in JSON")
    return said


# ---- a plugin


def _of_plugin(task: Task, source: DataSource) -> Pools:
    mend = (
        "choose a model whose data are the hub's with --model, give the task's files with --data-dir DIR "
        f"(DIR/{task.name}/train.jsonl and validation.jsonl), or have the task bring them (source.folder in its file)"
    )
    try:
        known = list(source.tasks())
        if task.name not in known:
            raise ZobenchError(unknown(f"{source.name} task", task.name, known) + f"; or {mend}")
        train, validation, provenance = source.items(task.name)
        if not all(isinstance(pool, Sequence) for pool in (train, validation)):
            raise TypeError("pools are sequences of items")
        return Pools(train, validation, source.name, json.loads(json.dumps(dict(provenance), allow_nan=False)))
    except (ZobenchError, MemoryError):
        raise
    except (Exception, SystemExit) as e:  # whatever a plugin's code raises
        why = f"{type(e).__name__}: {said(e, first=True)}"
        raise ZobenchError(f"task {task.name}: data source {source.name} cannot be read: {why}") from e


# ---- the hub


def _hub(task: Task, offline: bool) -> Pools:
    """The pinned revision from the hub or its cache. No data set script is ever run: `datasets` >= 4 has none."""
    datasets, source = library("datasets", "data of the hub", instead="use --data-dir"), task.source
    with _offline_mode(offline):
        try:
            loaded = [
                datasets.load_dataset(source.id, source.config, split=name, revision=source.revision)
                for name in (source.train, source.validation)
            ]
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as e:
            known = " ".join(str(e).split())
            how = "is not in the local cache (offline)" if offline else "cannot be loaded from the hub"
            raise ZobenchError(
                f"task {task.name}: {source.id} ({source.config}) {how}: {known}; "
                f"--data-dir DIR reads DIR/{task.name}/train.jsonl and validation.jsonl"
            ) from None
    for pool in loaded:
        _check_revision(task, pool)
    rows = {"train": len(loaded[0]), "validation": len(loaded[1])}
    facts = {"id": source.id, "config": source.config, "revision": source.revision, "rows": rows}
    return Pools(cast(Any, loaded[0]), cast(Any, loaded[1]), "hub", facts)


def _check_revision(task: Task, pool: Any) -> None:
    """Without a connection `datasets` falls back to the newest cached revision; only the pinned one will do."""
    urls = [str(url) for url in (pool.info.download_checksums or {}) if str(url).startswith("hf://")]
    other = [url for url in urls if "@" in url and f"@{task.source.revision}" not in url]
    if other:
        raise ZobenchError(
            f"task {task.name}: the newest copy of {task.source.id} in the cache is another revision ({other[0]}); "
            f"load it once with a connection, which gets {task.source.revision}"
        )


@contextlib.contextmanager
def _offline_mode(offline: bool) -> Iterator[None]:
    """Both libraries read their environment variable once, on import: so the flags they keep are set, and put back."""
    if not offline:
        yield
        return
    import datasets.config
    import huggingface_hub.constants

    places: list[Any] = [datasets.config, huggingface_hub.constants]
    before = [place.HF_HUB_OFFLINE for place in places]
    try:
        for place in places:
            place.HF_HUB_OFFLINE = True
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value
