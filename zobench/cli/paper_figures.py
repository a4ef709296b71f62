"""The figures of a paper, drawn for any model: from the records of its tables, or by looking into the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ZobenchError, unknown
from .common import write_file
from .looking import tell

if TYPE_CHECKING:
    from ..plugins.registry import Plugins
    from ..report.papers import Paper, PrintedFigure
    from ..report.record import Record
    from ..run.place import Place


def figures_of(paper: Paper, numbers: Sequence[str]) -> list[PrintedFigure]:
    """The figures of these numbers. ZobenchError for one that the paper's file does not have."""
    for number in numbers:
        if number not in paper.figures:
            raise ZobenchError(unknown(f"figure of {paper.name}", number, paper.figures))
    return [paper.figures[number] for number in dict.fromkeys(numbers)]


def draw(
    paper: Paper,
    figures: Sequence[PrintedFigure],
    place: Place,
    plugins: Plugins,
    records: Sequence[Record],
    tasks: Sequence[str],
) -> None:
    """Draw each into the results folder, as NAME-figure1.png; those that look into the model print their tables, too.

    records: of the tables that were run. tasks: of the figure's tasks these alone; none: all.
    """
    for figure in figures:
        path = place.results / f"{paper.name}-figure{figure.number}.png"
        if figure.draws in _LOOKING:
            own = [task for task in figure.tasks if not tasks or task in tasks]
            if not own:
                raise ZobenchError(
                    f"figure {figure.number} is of the tasks {', '.join(figure.tasks)}: name one of them"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            _look(figure.draws, own, place, plugins, path)
        else:
            wanted = {
                (row.estimator, task) for n in figure.tables for row in paper.tables[n].rows for task in row.scores
            }
            mine = [one for one in records if (one["cell"]["estimator"], one["cell"]["task"]) in wanted]
            write_file(path, _of_records(figure, mine, place.results, plugins, path))
        tell(f"figure {figure.number}: {path}")


_LOOKING = ("activations", "sensitivity")


def _look(what: str, tasks: Sequence[str], place: Place, plugins: Plugins, path: Path) -> None:
    from .activations import activations
    from .sensitivity import sensitivity

    command = activations if what == "activations" else sensitivity
    command(
        tasks=",".join(tasks),
        model=place.model,
        data_dir=place.data_dir,
        device=place.device,
        offline=place.offline,
        plot=path,
        plugin=[Path(file) for file in plugins.files],
    )


def _of_records(figure: PrintedFigure, records: Sequence[Record], results: Path, plugins: Plugins, path: Path) -> bytes:
    """The picture of a figure that is of records. ZobenchError where they do not hold what it shows."""
    from ..plugins import declared
    from ..report import blocks
    from ..report import curves as of_losses
    from ..report.web.page import losses_of
    from . import curves, layers

    if figure.draws == "layers":
        if sweeps := blocks.sweeps(records, declared.known(plugins)):
            return layers.drawn(path, sweeps)
    elif found := of_losses.curves(records, losses_of(results)):
        return curves.drawn(path, found)
    raise ZobenchError(f"figure {figure.number}: none of its cells ended well; zobench status {results} says why")
