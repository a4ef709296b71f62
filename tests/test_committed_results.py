"""The committed results, read once: logs are whole, and nothing in them is a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from zobench import redact
from zobench.report import packed, store
from zobench.run.replay import _log

ROOT = Path(__file__).parents[1] / "results"


@pytest.fixture(scope="module")
def committed():
    """By folder its records."""
    folders = {path.parent for path in ROOT.rglob("*") if path.name in (store.CELLS, packed.RECORDS)}
    return {results: store.read(results)[0] for results in sorted(folders)}


def test_no_record_holds_what_would_be_redacted(committed):
    records = [record for of_folder in committed.values() for record in of_folder]
    assert len(records) > 1000
    for record in records[::25]:
        assert redact.clean(record) == record


def test_every_log_is_whole_and_that_of_its_record(committed):
    """They are of the first version of the file."""
    seen = 0
    for results, records in committed.items():
        packs = {name: data for name, data in packed.sides(results) if isinstance(data, bytes)}
        for record in records:
            path = store.files(results, record).replay
            data = path.read_bytes() if path.is_file() else packs.get(path.name)
            if data is not None:
                seen += 1
                assert len(_log(record, path, data).steps) == record["chosen"]["step"], path
    assert seen > 400
