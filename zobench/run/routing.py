"""Settings brought to their owners: protocol, run, estimators, selectors, executor; the preset's before the user's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from ..errors import ZobenchError, unknown
from ..plugins import along, declared, expressions, transforms
from ..plugins.expressions import Address, addresses
from ..protocol.protocol import Computation, Protocol, computation_from, protocol_from
from ..settings import convert, resolve, settings_of
from .first_order import FirstOrder
from .rates import checked_rates

if TYPE_CHECKING:
    from ..contracts.selector import Selector
    from ..plugins.presets import Preset
    from ..plugins.registry import Plugins
    from .wish import Wish

GROUPS: Mapping[str, type] = {"protocol": Protocol, "run": Computation}
RATES = ("run", "lr")
"""The learning rates, among what the run has."""


@dataclass(frozen=True)
class Routed:
    """Settings by owner, checked and complete."""

    protocol: Protocol
    computation: Computation
    estimators: dict[str, dict[str, Any]]
    selectors: dict[str, dict[str, Any]]
    lrs: tuple[float, ...] | None
    first_order: FirstOrder
    """What holds for estimators that descend gradients."""


def parse_settings(items: Sequence[str]) -> dict[str, str]:
    """`key=value` texts as a mapping. Raises ZobenchError for one without `=` and for a key given twice."""
    out: dict[str, str] = {}
    for item in items:
        key, sign, value = item.partition("=")
        if not sign or not key.strip():
            raise ZobenchError(f"--set {item}: write it as --set name=value, for example --set eps=1e-3")
        if key.strip() in out:
            raise ZobenchError(f"--set {key.strip()} is given twice")
        out[key.strip()] = value.strip()
    for key in out:
        group, dot, name = key.rpartition(".")
        if dot and group in GROUPS and name in out and _of_groups(name):
            raise ZobenchError(f"--set {name} is given twice: as {name} and as {key}")
    return out


def route(wish: Wish, plugins: Plugins, model: str | None = None) -> Routed:
    """Give every setting to its owner: `name.key` to that plugin, `protocol.key` and `run.key` to those, `key` to whom
    has it: the protocol, the run (with the learning rates, `lr`), or every chosen plugin that declares it.

    Raises ZobenchError for a key that nobody has, with the nearest names, and for one that the protocol or the run has
    and a chosen plugin too: which is meant must be said. (A preset's plain words are those of protocol and run.)
    Before the user's go those that plugins have for the `model`, of that name, and before those the preset's.
    """
    presets = _preset_settings(wish, plugins)
    estimators = {name: plugins.estimator(name) for name in wish.estimators}
    selectors = {name: plugins.selector(name) for name in wish.selectors}
    owners = _addresses(estimators, selectors)
    given: dict[str, dict[str, object]] = {name: {} for name in owners}
    rules: dict[str, dict[str, object]] = {"protocol": {}, "run": {}}
    lrs, said = wish.lrs, set[str]()  # said: of the protocol, by the model or the user
    of_model = {} if model is None else declared.model_settings(plugins, model)
    for source, settings in (*(("preset", one) for one in presets), ("model", of_model), ("set", wish.settings)):
        for key, value in sorted(settings.items(), key=lambda item: "." in item[0]):  # `name.key` goes before `key`
            for owner, name in _owners(key, owners, must=source == "set"):
                if (owner, name) == RATES:
                    lrs = convert(value, tuple[float, ...], "lr")
                else:
                    (rules if owner in rules else given)[owner][name] = value
                    said |= {name} if owner == "protocol" and source != "preset" else set()
    if lrs is not None:
        checked_rates(lrs)
    protocol = protocol_from(_clipped(rules["protocol"], estimators.values(), plugins))
    protocol = replace(protocol, transform=transforms.canonical(protocol.transform, plugins))
    computation = computation_from(rules["run"])
    return Routed(
        protocol,
        computation,
        {name: resolve(cls, given[name], owner=name) for name, cls in estimators.items()},
        {name: resolve(cls, given[name], owner=name) for name, cls in selectors.items()},
        lrs,
        FirstOrder.of(preset_of(wish, plugins).first_order, said, protocol, computation),
    )


def _clipped(values: dict[str, object], estimators: Iterable[Any], plugins: Plugins) -> dict[str, object]:
    """The protocol's settings; where nothing trains, evaluations beyond the last step are no fault but a note."""
    found = resolve(Protocol, values, owner="protocol")
    if found["eval_every"] <= found["steps"] or any(cls.trains for cls in estimators):
        return values
    plugins.warn(f"eval_every={found['eval_every']} is taken as steps={found['steps']}: nothing is trained")
    return {**values, "eval_every": found["steps"]}


def fault_of(key: str, wish: Wish, plugins: Plugins) -> ZobenchError | None:
    """Why `--set key=...` cannot be said of this wish: nobody has it, or two; None where it can be."""
    owners = _addresses(
        {name: plugins.estimator(name) for name in wish.estimators},
        {name: plugins.selector(name) for name in wish.selectors},
    )
    try:
        _owners(key, owners, must=True)
    except ZobenchError as fault:
        return fault
    return None


def _addresses(estimators: Mapping[str, type], selectors: Mapping[str, type]) -> dict[str, list[Address]]:
    """By estimator and selector the settings that they have, and what reaches them."""
    owners = {name: [_address(name, key) for key in settings_of(cls)] for name, cls in estimators.items()}
    return owners | {name: list(addresses(cls, name)) for name, cls in selectors.items()}


def executor_settings(wish: Wish, plugins: Plugins, name: str) -> tuple[Wish, dict[str, Any]]:
    """The wish without what is said of the executor (`name.key`), and that, checked: all settings that it declares.

    Raises ZobenchError for an unknown executor, and for settings that it does not have.
    """
    cls = plugins.executor(name)
    mine = {key: value for key, value in wish.settings.items() if key.rpartition(".")[0] == name}
    if not mine or name in wish.estimators or name in wish.selectors:
        return wish, resolve(cls, {}, owner=name)
    others = {key: value for key, value in wish.settings.items() if key not in mine}
    given = {key.rpartition(".")[2]: value for key, value in mine.items()}
    return replace(wish, settings=others), resolve(cls, given, owner=name)


def _address(estimator: str, key: str) -> Address:
    """A setting of an estimator, which may be one of its directions (`directions.rank`)."""
    group, _, name = key.rpartition(".")
    names = along.parts(estimator)[:2] if along.is_expression(estimator) else ()
    prefixes = {estimator, *(one for one in names if one)} | ({group} if group else set())
    return Address(frozenset(prefixes), name, key, False)


def said_of_run(wish: Wish, plugins: Plugins) -> set[str]:
    """The settings of the run that the user, or the preset, gives a value."""
    given = {key for settings in (*_preset_settings(wish, plugins), wish.settings) for key in settings}
    return {name for key in given for owner, _, name in [key.rpartition(".")] if owner in ("", "run")}


def preset_of(wish: Wish, plugins: Plugins) -> Preset:
    """The preset of a run. ZobenchError for one that is not known, with the nearest names."""
    name = wish.preset or declared.one(plugins, "usual_preset", "--preset")
    declared.check_preset(plugins, name)
    return declared.preset(plugins, name)


def _preset_settings(wish: Wish, plugins: Plugins) -> list[Mapping[str, object]]:
    """What selectors take less of under the preset, as they say themselves; then what the preset says, which counts."""
    name = wish.preset or declared.one(plugins, "usual_preset", "--preset")
    preset = preset_of(wish, plugins)
    used = dict.fromkeys(part for selector in wish.selectors for part in expressions.names(selector))
    heads = {head: cast("type[Selector]", plugins.get("selectors", head)) for head in used}  # `all_but` of `all_but:x`
    own = {f"{head}.{key}": v for head, cls in heads.items() for key, v in cls.presets.get(name, {}).items()}
    return [own, preset.settings]


def _of_groups(key: str) -> list[tuple[str, str]]:
    """Protocol or run as the owner of `key`, if one of them has it."""
    found = [(group, key) for group, cls in GROUPS.items() if key in settings_of(cls)]
    return [RATES] if key == "lr" else found


def _owners(key: str, owners: Mapping[str, Sequence[Address]], *, must: bool) -> list[tuple[str, str]]:
    """Who `key` belongs to, as (owner, setting). `must`: nobody, or two, is an error, not a preset's idle word."""
    prefix, dot, name = key.rpartition(".")
    if dot:
        return _of_prefix(prefix, name, owners, must=must)
    found = [(owner, a) for owner, declared in owners.items() for a in declared if a.name == key]
    free = [(owner, a.key) for owner, a in found if not a.fixed]
    if ours := _of_groups(key):
        if must and free:
            raise ZobenchError(_of_two(key, ours[0][0], [min(a.prefixes, key=len) for _, a in found if not a.fixed]))
        return ours
    if not free and must:
        if found:
            raise ZobenchError(_in_the_name(key, found[0][0]))
        every = {"lr", *(n for cls in GROUPS.values() for n in settings_of(cls))}
        every |= {a.name for declared in owners.values() for a in declared}
        raise ZobenchError(f"--set {key}: " + unknown("setting", key, every))
    return free


def _of_two(key: str, group: str, others: Sequence[str]) -> str:
    """What to write where the protocol or the run has a setting and plugins of this run have it too."""
    each = ", ".join(dict.fromkeys(others))
    ways = " or ".join(f"--set {owner}.{key}=..." for owner in dict.fromkeys((group, *others)))
    return f"--set {key}: the {group} has a setting of that name, and so has {each}: say which, {ways}"


def _of_prefix(prefix: str, name: str, owners: Mapping[str, Sequence[Address]], *, must: bool) -> list[tuple[str, str]]:
    """As `_owners`, for `prefix.name`: of that estimator or selector, and of every expression that it is a part of."""
    if prefix in GROUPS:
        if not (ours := [pair for pair in _of_groups(name) if pair[0] == prefix]):
            known = {*settings_of(GROUPS[prefix]), *(name for owner, name in [RATES] if owner == prefix)}
            raise ZobenchError(f"--set {prefix}.{name}: " + unknown(f"setting of the {prefix}", name, known))
        return ours
    called = [(owner, a) for owner, declared in owners.items() for a in declared if prefix in a.prefixes]
    if not called and prefix not in owners:
        if must:
            here = {*owners, *(p for declared in owners.values() for a in declared for p in a.prefixes)}
            raise ZobenchError(f"--set {prefix}.{name}: " + unknown("estimator or selector of this run", prefix, here))
        return []
    found = [(owner, a) for owner, a in called if a.name == name]
    if not found:
        if not must:
            return []
        raise ZobenchError(unknown(f"setting of {prefix}", name, {a.name for _, a in called}))
    free = [(owner, a.key) for owner, a in found if not a.fixed]
    if not free and must:
        raise ZobenchError(_in_the_name(f"{prefix}.{name}", found[0][0]))
    return free


def _in_the_name(key: str, owner: str) -> str:
    return f"--set {key}: selector {owner} has it in its name; write the value there, or name the selector without one"
