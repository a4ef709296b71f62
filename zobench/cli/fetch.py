"""`zobench fetch`: download all that a grid needs, so that `--offline` runs need no network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ZobenchError
from .common import Offline, PluginFiles, plugins_of

if TYPE_CHECKING:
    from ..plugins.registry import Plugins


def fetch(
    models: Annotated[
        str, typer.Option("--models", "--model", "-m", help="Hub ids, comma separated; folders are checked.")
    ] = "",
    tasks: Annotated[str, typer.Option("--tasks", "-t", help="Tasks, comma separated, or `all`.")] = "",
    offline: Offline = False,
    plugin: PluginFiles = None,
) -> None:
    """Download models and the data of tasks into the hub's cache, at pinned revisions, and say which they are.

    With --offline: say what of it is there. A run with --offline then needs no network. Exit status 1 where something
    could not be had; the rest is fetched.
    """
    names = [name.strip() for name in models.split(",") if name.strip()]
    wanted = [name.strip() for name in tasks.split(",") if name.strip()]
    if not names and not wanted:
        raise ZobenchError("nothing to fetch: name --models, --tasks, or both, for example --models Qwen/Qwen3-8B")
    plugins = plugins_of(plugin)
    from ..run.wish import expand

    chosen = expand(wanted, plugins.names("tasks"), "task")
    faults = [_told(lambda name=name: _model(name, plugins, offline)) for name in names]
    faults += [_told(lambda task=task: _task(task, plugins, offline)) for task in chosen]
    if any(faults):
        raise typer.Exit(1)


def _told(get: object) -> bool:
    """Print what was had, or why it was not; whether it was not."""
    import sys

    from ..report.text import printable

    assert callable(get)
    try:
        print(printable(get()), flush=True)
    except ZobenchError as e:
        print(f"zobench: error: {printable(str(e))}", file=sys.stderr, flush=True)
        return True
    return False


def _model(name: str, plugins: Plugins, offline: bool) -> str:
    if name in plugins.names("models"):
        return f"model {name}: of a plugin, which brings it"
    from ..models.folder import find
    from ..plugins import declared

    found = find(name, offline=offline, pinned=declared.revision(plugins, name))
    size = sum(path.stat().st_size for path in Path(found.path).iterdir() if path.is_file())
    return f"model {found.name} at {found.revision}: {size / 2**30:.2f} GiB in {found.path}"


def _task(name: str, plugins: Plugins, offline: bool) -> str:
    from ..tasks.source import load_pools

    task = plugins.task(name)
    pools = load_pools(task, "hub", offline=offline)
    at = f"{task.source.id} ({task.source.config}) at {task.source.revision}" if pools.data == "hub" else "its own data"
    return f"task {name}: {at}: {len(pools.train)} items to train on, {len(pools.validation)} to test on"
