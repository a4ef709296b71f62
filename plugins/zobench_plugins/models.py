"""The built-in models, by the name a user gives to `--model`."""

from collections.abc import Mapping

from zobench import hookimpl


@hookimpl
def zobench_models() -> Mapping[str, str]:
    """`embedded`: the model in the package, and the default; `embedded_random`: its shape with random weights."""
    return {"embedded": "zobench_world.model:load", "embedded_random": "zobench_world.model:load_random"}
