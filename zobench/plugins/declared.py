"""What the loaded plugins say of names: parts they play, settings of models, pinned revisions. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from ..errors import ZobenchError, unknown
from ..report.known import KnownNames
from .discovery import describe_fault
from .registrations import KINDS, ROLES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..report.record import Stands
    from ..tasks.source import DataSource, Where
    from .presets import Preset
    from .registrations import Offer
    from .registry import Plugins


def role(plugins: Plugins, name: str) -> tuple[str, ...]:
    """Who plays a part (`ROLES`), in the order of the plugins, each once."""
    said = [cast("Sequence[str]", offer.value) for offer in plugins.offers("roles", name)]
    return tuple(dict.fromkeys(who for names in said for who in names))


def one(plugins: Plugins, name: str, option: str) -> str:
    """Who alone plays a part. ZobenchError where nobody does, or several: `option` is where the user names one."""
    found = role(plugins, name)
    if len(found) == 1:
        return found[0]
    singular = KINDS[ROLES[name]].singular
    if not found:
        raise ZobenchError(f"no plugin names any {singular} as the {name.replace('_', ' ')}: name one with {option}")
    by = " and ".join(f"{', '.join(cast('Sequence[str]', o.value))} by {o.by}" for o in plugins.offers("roles", name))
    raise ZobenchError(f"several {ROLES[name]} are named as the {name.replace('_', ' ')}: {by}: name one with {option}")


def known(plugins: Plugins) -> KnownNames:
    """What boards must know of early records, which do not say it themselves."""
    stands: dict[str, Stands] = dict.fromkeys(role(plugins, "reference"), "reference")
    stands |= dict.fromkeys(role(plugins, "untouched"), "untouched")
    sources: dict[str, Mapping[str, str]] = {}
    for name in plugins.names("data_sources"):
        with suppress(ZobenchError):  # a board must not fail for a source that it may not need
            sources[name] = source_facts(data_source(plugins, name))
    played = {
        name: role(plugins, name) for name in ("baseline", "everything", "one_block", "outlier_block", "whole_blocks")
    }
    return KnownNames(stands, sources=sources, **played)


def source_facts(source: DataSource) -> dict[str, str]:
    """What records say of a data source beside its name."""
    return {key: value for key, value in (("nature", source.nature), ("about", source.about)) if value}


def model_settings(plugins: Plugins, model: str) -> dict[str, object]:
    """The settings that plugins have for the scale of a model. ZobenchError where two give one setting two values."""
    out: dict[str, tuple[object, Offer]] = {}
    for offer in plugins.offers("model_settings", model):
        for key, value in cast("Mapping[str, object]", offer.value).items():
            known, by = out.setdefault(key, (value, offer))
            if known != value:
                raise ZobenchError(
                    f"model {model}: setting {key} is {known} by {by.by} and {value} by {offer.by}: "
                    f"say which with --set {key}=..., and leave one of the plugins out"
                )
    return {key: value for key, (value, _) in out.items()}


def revision(plugins: Plugins, model: str) -> str | None:
    """The commit that a model of the hub is pinned to; None where it is to none. ZobenchError for two commits."""
    found = {str(offer.value): offer.by for offer in plugins.offers("revisions", model)}
    if len(found) > 1:
        said = " and ".join(f"{commit} by {by}" for commit, by in found.items())
        raise ZobenchError(f"model {model} is pinned to {said}: leave one of the plugins out")
    return next(iter(found), None)


def data_source(plugins: Plugins, name: str) -> DataSource:
    """The data source of that name. ZobenchError if it is unknown, claimed by two plugins, or cannot be made."""
    cls = cast("type[DataSource]", plugins.get("data_sources", name))
    try:
        made = cls()
    except Exception as e:  # whatever a plugin's code raises
        by = plugins.offer("data_sources", name).by
        raise ZobenchError(f"data source {name!r} of {by} cannot be made: {describe_fault(e)}") from e
    made.name = name
    return made


def where(plugins: Plugins, data: str | Path) -> Where:
    """Where data are that a user or a model names: a folder, the hub, or a source by its name."""
    return data_source(plugins, data) if data in plugins.names("data_sources") else data


def preset(plugins: Plugins, name: str) -> Preset:
    """The preset of that name. ZobenchError if it is unknown, or claimed by two plugins."""
    return cast("Preset", plugins.get("presets", name))


def usual_preset(plugins: Plugins, model: str) -> str:
    """The preset of a run that names none: the one that names the model, else the usual one of all.

    Raises ZobenchError where several name it, or there is none.
    """
    mine = [name for name in plugins.names("presets") if model in preset(plugins, name).models]
    if len(mine) > 1:
        raise ZobenchError(f"presets {' and '.join(mine)} are both for model {model}: name one with --preset")
    return mine[0] if mine else one(plugins, "usual_preset", "--preset")


def check_preset(plugins: Plugins, name: str) -> None:
    """ZobenchError unless there is a preset of that name, with the nearest ones."""
    if name not in plugins.names("presets"):
        raise ZobenchError(unknown("preset", name, plugins.names("presets"), see="zobench ls presets"))
