"""What a model is made of beside the values of its tensors: modules, their classes, attributes, hooks, its config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from operator import is_
from types import FunctionType
from typing import Any

from torch import Tensor, nn

TREE = {"_modules": "modules", "_parameters": "parameters", "_buffers": "buffers"}
PLAIN = (bool, int, float, complex, str, bytes, tuple, frozenset)
QUIET = "transformers."
"""Of this package are the hooks that a model's library sets by itself; they are taken off, and nobody is blamed."""


@dataclass
class _Thing:
    """An object's attributes as they were; of containers also what they held."""

    name: str  # empty for the model itself
    thing: Any
    kind: type
    attributes: dict[str, Any]
    held: dict[str, Any]
    empty: list[Any]
    """Containers that held nothing, as most of a module's do."""
    full: list[tuple[Any, Any]]
    """The others, each with what it held."""

    @classmethod
    def of(cls, name: str, thing: Any) -> _Thing:
        attributes = dict(vars(thing))
        held = {k: v.copy() for k, v in attributes.items() if isinstance(v, dict | list | set)}
        empty = [attributes[k] for k, v in held.items() if not v]
        return cls(
            name, thing, type(thing), attributes, held, empty, [(attributes[k], v) for k, v in held.items() if v]
        )

    @property
    def called(self) -> str:
        return self.name or "the model"

    def stands(self) -> bool:
        """Whether it is what it was, as all of them are nearly always."""
        return (
            type(self.thing) is self.kind
            and _alike(vars(self.thing), self.attributes)
            and not any(self.empty)
            and all(_same(was, held) for was, held in self.full)
        )

    def put_back(self) -> Iterator[str]:
        """Make it what it was; what of it was another, for which somebody is to blame."""
        if self.stands():
            return
        if type(self.thing) is not self.kind:
            self.thing.__class__ = self.kind
            yield f"the class of {self.called}"
        now = vars(self.thing)
        for key in [k for k in now if k not in self.attributes]:
            if key == "forward":
                yield f"the forward of {self.called}"
            del now[key]
        for key, was in self.attributes.items():
            found, held = now.get(key), self.held.get(key)
            if found is was and key in now and (held is None or _same(was, held)):
                continue
            if held is not None and any(isinstance(was, k) and isinstance(found, k) for k in (dict, list, set)):
                if not _same(found, held):
                    yield from self._contents(key, found, held)
                _fill(was, held)
            elif found is not was and self._blamed(key, was, found):
                yield f"{key} of {self.called}"
            now[key] = was

    def _blamed(self, key: str, was: Any, now: Any) -> bool:
        """Whether an attribute that is another object is a change: not where a forward keeps something there."""
        if was is None or isinstance(was, Tensor) or grows(self.thing):
            return key == "forward"
        return not (isinstance(was, PLAIN) and type(was) is type(now) and was == now)

    def _contents(self, key: str, container: Any, held: Any) -> Iterator[str]:
        """What of the contents of a container is another."""
        if key in TREE:
            names = [k for k in {**held, **container} if container.get(k) is not held.get(k)]
            if not (key == "_buffers" and grows(self.thing)):
                yield from (f"{self.name}.{k}".removeprefix(".") for k in names)
            if not names:
                yield f"the order of the {TREE[key]} of {self.called}"
        elif key.endswith(("_hooks", "_pre_hooks")):
            strange = [h for k, h in {**held, **container}.items() if container.get(k) is not held.get(k)]
            if any(not str(getattr(h, "__module__", "")).startswith(QUIET) for h in strange):
                yield f"{key.strip('_').replace('_', ' ')} of {self.called}"


class Anatomy:
    """A model's modules by name, each with its attributes, and the functions of their classes."""

    def __init__(self, model: nn.Module) -> None:
        self.modules = [_Thing.of(name, module) for name, module in model.named_modules()]
        classes = {c for module in model.modules() for c in type(module).__mro__ if c is not object}
        self.classes = {c: dict(vars(c)) for c in classes}
        configs = {id(c): c for one in self.modules for c in _configs(one.attributes.values())}
        self.configs = {key: (c, _settings(c)) for key, c in configs.items()}
        self.flags = [(name, p, p.requires_grad) for name, p in model.named_parameters()]

    def put_back(self) -> list[str]:
        """Undo all changes except to values of tensors. Returns the names of what was changed."""
        found = [what for one in self.modules for what in one.put_back()]
        found += [what for one in self.classes for what in self._class(one)]
        found += [what for config, was in self.configs.values() for what in _put_settings(config, was)]
        for name, p, required in self.flags:
            p.grad = None
            if p.requires_grad != required:
                p.requires_grad_(required)
                found.append(f"requires_grad of {name}")
        return list(dict.fromkeys(found))

    def _class(self, cls: type) -> Iterator[str]:
        stood = self.classes[cls]
        if _alike(vars(cls), stood):
            return
        was = {k: f for k, f in stood.items() if isinstance(f, FunctionType)}
        now = {k: f for k, f in vars(cls).items() if k in was or isinstance(f, FunctionType)}
        for key in now.keys() | was.keys():
            if now.get(key) is not was.get(key) and not _of_the_compiler(now.get(key)):
                yield f"{cls.__name__}.{key}"
                if key in was:
                    setattr(cls, key, was[key])
                else:
                    delattr(cls, key)


def _of_the_compiler(function: Any) -> bool:
    """Whether torch.compile put it there: on first use it wraps what nn.Module has, and relies on that."""
    return str(getattr(function, "__module__", "")).startswith("torch._dynamo.")


def grows(module: nn.Module) -> bool:
    """Whether a forward over a longer text changes this module: places of rotary models, of two kinds."""
    kinds = getattr(module, "rope_type", None)
    return any(kind in ("dynamic", "longrope") for kind in (kinds.values() if isinstance(kinds, dict) else [kinds]))


def _fill(container: Any, held: Any) -> None:
    if not _same(container, held):
        container.clear()
        (container.extend if isinstance(container, list) else container.update)(held)


def _alike(now: Mapping[str, Any], was: Mapping[str, Any]) -> bool:
    """Whether the same names stand for the same objects, in the same order."""
    return len(now) == len(was) and [*now] == [*was] and all(map(is_, now.values(), was.values()))


def _same(container: Any, held: Any) -> bool:
    if not (container or held):
        return True
    if isinstance(container, set):
        return bool(container == held)
    if len(container) != len(held):
        return False
    if isinstance(container, list):
        return all(map(is_, container, held))
    return list(container) == list(held) and all(map(is_, container.values(), held.values()))


def _configs(values: Any) -> Iterator[Any]:
    """Configs of transformers among these, and those inside them."""
    for value in values:
        if hasattr(value, "model_type") and hasattr(value, "to_dict"):
            yield value
            yield from _configs(vars(value).values())


def _settings(config: Any) -> dict[str, Any]:
    """What a config holds: copies, but for configs inside it."""
    inner = {id(c): c for c in _configs(vars(config).values())}
    return deepcopy(vars(config), {i: c for i, c in inner.items()})


def _put_settings(config: Any, was: dict[str, Any]) -> Iterator[str]:
    now = vars(config)
    for key in [k for k in {**was, **now} if k not in was or k not in now or not _equal(now[k], was[k])]:
        yield f"config.{key}"
        if key in was:
            now[key] = deepcopy(was[key])
        else:
            del now[key]


def _equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    same: Any = type(a) is type(b) and a == b
    return same is True
