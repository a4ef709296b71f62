"""The built-in executors, by the name a user types."""

from collections.abc import Mapping

from zobench import hookimpl


@hookimpl
def zobench_executors() -> Mapping[str, str]:
    """`local`: this machine. `ray`: a Ray cluster. `submitit`: jobs of Slurm."""
    return {
        "local": "zobench_plugins.executors.local:Local",
        "ray": "zobench_plugins.executors.cluster:OnRay",
        "submitit": "zobench_plugins.executors.slurm:Submitit",
    }
