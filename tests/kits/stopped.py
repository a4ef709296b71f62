"""What kills leave of a results folder, at moments that a test chooses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from zobench.run import diary, journal
from zobench.run.diary import Diary


class Kills:
    """Copies of a results folder as kills would leave it: after every so manieth look of the loop at its diary."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, results: Path, to: Path, *, every: int) -> None:
        self.results: Path | None = results
        self.to, self.looks = to, 0
        self.copies: list[Path] = []
        monkeypatch.setattr(journal, "FLUSH_S", 0.0)
        monkeypatch.setattr(diary, "SNAPSHOTS", float("inf"))
        stepped = Diary.stepped

        def spied(mine: Diary, *args: Any, **more: Any) -> None:
            stepped(mine, *args, **more)
            self.looks += 1
            if self.looks % every == 0 and self.results is not None:
                copy = self.to / f"killed-{self.looks}"
                shutil.copytree(self.results, copy)
                for ours in (*copy.glob("running/*.claim-*"), *copy.glob("cells/.*")):  # of a process that lives
                    ours.unlink()
                self.copies.append(copy)

        monkeypatch.setattr(Diary, "stepped", spied)
