"""The built-in executors, by the name a user types."""

from collections.abc import Mapping

from zobench import hookimpl


@hookimpl
def zobench_executors() -> Mapping[str, str]:
    """`local`: one cell after the other, in this process."""
    return {"local": "zobench_plugins.executors.local:Local"}
