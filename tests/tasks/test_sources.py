"""Data from folders, from the hub's format without a network, and from plugins."""

import hashlib
import json
import types

import pytest
from kits.task_kit import golden, task

from zobench.errors import ZobenchError
from zobench.tasks.source import DataSource, load_pools

ITEMS = [s["data"] for s in golden("prompts")["SST2"]["samples"]]


def write(folder, split, items):
    folder.mkdir(exist_ok=True)
    path = folder / f"{split}.jsonl"
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path):
    for split in ("train", "validation"):
        write(tmp_path / "sst2", split, ITEMS)
    return tmp_path


def test_folder(data):
    pools = load_pools(task("sst2"), data)
    assert list(pools.train) == list(pools.validation) == ITEMS and pools.data == "folder"
    sha = hashlib.sha256((data / "sst2" / "train.jsonl").read_bytes()).hexdigest()
    assert pools.provenance["train"] == {"file": "sst2/train.jsonl", "sha256": sha, "rows": 4}


def test_line_separators_inside_a_text_do_not_end_a_line(data):
    odd = {"sentence": "one\u2028two\x85three", "label": 0}
    write(data / "sst2", "train", [odd, *ITEMS])
    assert load_pools(task("sst2"), str(data)).train[0] == odd


def test_wsc_prefers_the_fixed_files(tmp_path):
    items = [s["data"] for s in golden("prompts")["WSC"]["samples"]]
    write(tmp_path / "wsc", "train", items)
    write(tmp_path / "wsc", "validation", items)
    assert load_pools(task("wsc"), tmp_path).provenance["train"]["file"] == "wsc/train.jsonl"
    write(tmp_path / "wsc", "train.fixed", items[:2])
    pools = load_pools(task("wsc"), tmp_path)
    assert pools.provenance["train"]["file"] == "wsc/train.fixed.jsonl" and len(pools.train) == 2
    assert pools.provenance["validation"]["file"] == "wsc/validation.jsonl"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"sentence": "a", "label": 1}\n{"sentence": ', "train.jsonl: line 2 is not valid JSON"),
        ('\n\n{"sentence": "a"}', "train.jsonl: line 3 lacks label; it has sentence"),
        ('{"sentence": null, "label": 1}', "train.jsonl: line 1 lacks sentence"),
        ("[1]", "train.jsonl: line 1 is not a JSON object"),
        ('{"sentence": "\xff"}'.encode("latin-1"), "train.jsonl: line 1 is not valid JSON"),
        ("\n", "train.jsonl: holds no items"),
    ],
)
def test_bad_folder_files(data, content, message):
    path = data / "sst2" / "train.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ZobenchError, match=message):
        load_pools(task("sst2"), data)


def test_missing_folders_and_files(data):
    with pytest.raises(ZobenchError, match=r"task cb: no data in .*/cb: unknown folder 'cb'; known: sst2; --data-dir"):
        load_pools(task("cb"), data)
    with pytest.raises(ZobenchError, match="task cb: no data in .*there is no such folder"):
        load_pools(task("cb"), data / "nowhere")
    (data / "sst2" / "validation.jsonl").unlink()
    with pytest.raises(ZobenchError, match=r"task sst2: .*sst2 has no validation\.jsonl"):
        load_pools(task("sst2"), data)
    (data / "wsc").mkdir()
    with pytest.raises(ZobenchError, match=r"has no train\.fixed\.jsonl and no train\.jsonl"):
        load_pools(task("wsc"), data)


# ---- a plugin


class Mine(DataSource):
    name = "mine"

    def tasks(self):
        return ("sst2", "rte")

    def items(self, task):
        return ITEMS, ITEMS[:2], {"sha256": task}


def test_the_data_of_a_plugin():
    pools = load_pools(task("sst2"), Mine())
    assert (pools.data, len(pools.train), len(pools.validation)) == ("mine", 4, 2)
    assert pools.provenance == {"sha256": "sst2"}
    with pytest.raises(ZobenchError, match="unknown mine task 'cb'; known: rte, sst2; or choose .*--model.*--data-dir"):
        load_pools(task("cb"), Mine())
    with pytest.raises(ZobenchError, match="task rte: the mine split train lacks the fields premise, hypothesis"):
        load_pools(task("rte"), Mine())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"tasks": lambda self: 3}, "TypeError: 'int' object is not iterable"),
        ({"items": lambda self, task: 1 / 0}, "ZeroDivisionError: division by zero"),
        ({"items": lambda self, task: ITEMS}, "ValueError: too many values to unpack"),
        ({"items": lambda self, task: (iter(ITEMS), ITEMS, {})}, "TypeError: pools are sequences of items"),
        ({"items": lambda self, task: (ITEMS, ITEMS, {"of": object()})}, "is not JSON serializable"),
        ({"items": lambda self, task: (ITEMS, ITEMS, {"of": float("nan")})}, "not JSON compliant"),
        ({"items": lambda self, task: ([], ITEMS, {})}, "task sst2: the mine split train is empty"),
    ],
)
def test_what_a_plugin_gives_that_are_no_data_is_one_line(given, says):
    with pytest.raises(ZobenchError, match="task sst2: ") as e:
        load_pools(task("sst2"), type("Bad", (Mine,), given)())
    assert says in str(e.value) and "\n" not in str(e.value)


# ---- the hub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Parquet files as the hub has them, found in a folder in place of the hub's id."""
    datasets = pytest.importorskip("datasets")
    real, asked = datasets.load_dataset, []
    for split in ("train", "validation"):
        (tmp_path / "sst2").mkdir(exist_ok=True)
        datasets.Dataset.from_list(ITEMS).to_parquet(tmp_path / "sst2" / f"{split}-00000-of-00001.parquet")

    def from_folder(path, name, *, split, revision):
        asked.append((path, name, split, revision, datasets.config.HF_HUB_OFFLINE))
        return real(str(tmp_path / name), split=split, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", from_folder)
    return types.SimpleNamespace(datasets=datasets, asked=asked, from_folder=from_folder)


def test_hub(hub):
    pools = load_pools(task("sst2"), "hub")
    source = task("sst2").source
    assert [pools.train[i] for i in range(4)] == ITEMS and len(pools.validation) == 4 and pools.data == "hub"
    assert [a[:4] for a in hub.asked] == [(source.id, "sst2", s, source.revision) for s in ("train", "validation")]
    assert pools.provenance == {
        "id": "nyu-mll/glue",
        "config": "sst2",
        "revision": source.revision,
        "rows": {"train": 4, "validation": 4},
    }


def test_offline_is_for_the_call_only(hub):
    import huggingface_hub.constants as constants

    before = (hub.datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE)
    load_pools(task("sst2"), "hub", offline=True)
    assert [a[4] for a in hub.asked] == [True, True]
    assert (hub.datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE) == before


def test_what_is_not_cached_is_a_plain_error(tmp_path):
    pytest.importorskip("datasets")
    with pytest.raises(
        ZobenchError, match=r"task sst2: nyu-mll/glue \(sst2\) is not in the local cache \(offline\): .*--data-dir"
    ):
        load_pools(task("sst2"), "hub", offline=True)


def test_another_cached_revision_is_refused(hub, monkeypatch):
    """Without a connection `datasets` takes the newest revision it has; only the pinned one may be used."""

    def other(path, name, *, split, revision):
        pool = hub.from_folder(path, name, split=split, revision=revision)
        pool.info.download_checksums = {f"hf://datasets/{path}@{'0' * 40}/{name}/{split}.parquet": None}
        return pool

    monkeypatch.setattr(hub.datasets, "load_dataset", other)
    with pytest.raises(ZobenchError, match="the newest copy of nyu-mll/glue in the cache is another revision"):
        load_pools(task("sst2"), "hub", offline=True)


def test_hub_without_the_fields(hub, monkeypatch):
    monkeypatch.setattr(
        hub.datasets,
        "load_dataset",
        lambda *a, **kw: hub.from_folder(*a, **kw).remove_columns("label"),
    )
    with pytest.raises(
        ZobenchError, match="task sst2: the hub split train lacks the fields label; it has idx, sentence"
    ):
        load_pools(task("sst2"), "hub")
