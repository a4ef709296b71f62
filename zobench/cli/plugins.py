"""`zobench plugins`: what was found, what it brings, and why something did not load."""

from __future__ import annotations

from dataclasses import asdict

from .common import AsJson, PluginFiles, plugins_of, print_json, print_table


def plugins(plugin: PluginFiles = None, json: AsJson = False) -> None:
    """List plugins with their distribution, version, hooks and load error.

    A plugin that cannot be loaded is skipped by every other command, with a warning. ZOBENCH_PLUGINS limits what
    loads: names of plugins or distributions, comma-separated; empty for the built-ins alone; -NAME leaves one out.
    """
    found = plugins_of(plugin, quiet=True).loaded
    if json:
        return print_json([asdict(info) for info in found])
    rows = [(i.name, i.dist, i.version, ", ".join(i.hooks) or "-", i.error or "") for i in found]
    print_table(("NAME", "DISTRIBUTION", "VERSION", "HOOKS", "ERROR"), rows)
