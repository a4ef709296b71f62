"""Checks on an executor: it must return exactly one record for each cell that it was given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ZobenchError
from ..plugins.discovery import describe_fault
from .routing import executor_settings

if TYPE_CHECKING:
    from ..plugins.registry import Plugins
    from ..protocol.cell import Cell
    from ..report.record import Record
    from .wish import Wish


class Account:
    """Follows what an executor yields. Records of planned cells, one each, are passed on; anything else is a fault."""

    def __init__(self, name: str, cells: Sequence[Cell], written: Callable[[str], bool]) -> None:
        """`written`: whether the record of an id was written, as `run_cell` does."""
        self.faults: list[str] = []
        self._name, self._ids, self._written = name, [cell.id for cell in cells], written
        self._seen: set[str] = set()

    def follow(self, run: Callable[[], Iterator[Record]]) -> Iterator[Record]:
        """The records as they come. Raises ZobenchError if the executor raises, or returns nothing that can be
        iterated.
        """
        for record in self._guarded(run):
            said = record.get("id") if isinstance(record, dict) else None
            if said is None:
                self.faults.append(f"executor {self._name} yielded {type(record).__name__}, not a record")
            elif said not in self._ids:
                self.faults.append(f"executor {self._name} yielded a record of {said!r}, which is no cell of this run")
            elif said in self._seen:
                self.faults.append(f"executor {self._name} yielded the record of {said} twice")
            elif "elsewhere" not in record and not self._written(str(said)):
                self.faults.append(f"executor {self._name} yielded a record of {said}, which was never run")
            else:
                self._seen.add(str(said))
                yield record
        self.faults += [f"executor {self._name} lost {i}: it has no record" for i in self._ids if i not in self._seen]

    def _guarded(self, run: Callable[[], Iterator[Record]]) -> Iterator[Record]:
        try:
            yield from run()
        except ZobenchError:
            raise
        except (Exception, SystemExit) as e:
            raise ZobenchError(f"executor {self._name} raised {describe_fault(e)}; what is done is kept") from e


def begin(wish: Wish, plugins: Plugins, name: str) -> None:
    """Let the executor start what takes long, before cells are planned. ZobenchError where it cannot be made."""
    made = made_executor(plugins, name, executor_settings(wish, plugins, name)[1])
    if hasattr(made, "begin"):
        made.begin()


def made_executor(plugins: Plugins, name: str, settings: Mapping[str, Any]) -> Any:
    """The executor (zobench.Executor) with its settings. ZobenchError where it cannot be made."""
    try:
        made = plugins.executor(name)()
    except ZobenchError:
        raise
    except (Exception, SystemExit) as e:
        raise ZobenchError(f"executor {name} raised {describe_fault(e)}") from e
    for key, value in settings.items():
        setattr(made, key, value)
    return made
