"""Modules that others import at their top and seldom use: imported when something of them is used.

transformers' models import what only tensor-parallel ones, compiled ones and those of images need, which takes longer
than torch; and a method's module imports torch, of which its description uses nothing.

The import statement itself is replaced, as nothing less knows what is asked. importlib.util.LazyLoader imports a module
when an attribute of it is read, as `from torch.distributed.tensor import DTensor` does at once: of 51 such statements
in transformers 5.24 46 have that form, and LLaMA's module takes 2.4 s of CPU with it as without, 0.65 s so. A finder on
sys.meta_path is not told who imports, so that its stand-ins would be in sys.modules for everyone.
"""

from __future__ import annotations

import builtins
import gc
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class Used(ImportError):
    """Something of a module was used that is not to be imported."""


class Deferral:
    """Stands in for modules that are imported later (see `put_off`). `used`: something of one was used or shown."""

    def __init__(self, names: Sequence[str], within: tuple[str, ...], *, imports: bool) -> None:
        self.names, self.within, self.imports = tuple(names), within, imports
        self.active, self.used = True, False
        self.lent: list[tuple[ModuleType, str]] = []
        self.importers: set[str] = set()
        """The modules that were given stand-ins."""
        self._import = builtins.__import__

    def __call__(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """An import statement, as `builtins.__import__`."""
        importer = str((globals or {}).get("__name__", ""))
        if self.active and importer.startswith(self.within):
            package = str((globals or {}).get("__package__") or importer.rpartition(".")[0])
            whole = importlib.util.resolve_name("." * level + name, package) if level else name
            top = whole.partition(".")[0]
            if self._mine(whole) and whole not in sys.modules and (fromlist or self._mine(top) or whole in self.names):
                self.importers.add(importer)
                return self._given(whole if fromlist else top, whole)
        return self._import(name, globals, locals, fromlist or (), level)

    def _given(self, name: str, whole: str) -> ModuleType:
        """What an import statement of `whole` binds: of `import torch._dynamo` torch, which then has a stand-in."""
        if self._mine(name):
            return StandIn(name, self)
        self.lend(whole)
        return sys.modules[name]

    def lend(self, name: str) -> None:
        """Give the module that `name` lies in, which is imported, a stand-in as its attribute."""
        above, _, last = name.rpartition(".")
        module = importlib.import_module(above)
        if name not in sys.modules and last not in module.__dict__:
            setattr(module, last, StandIn(name, self))
            self.lent.append((module, last))

    def end(self) -> None:
        """No more stand-ins, and none in modules that others may import: what was put off is imported when read."""
        self.active = False
        for module, name in self.lent:
            if isinstance(module.__dict__.get(name), StandIn):
                delattr(module, name)
        for name in self.names if self.imports else ():
            imported_when_read(name)

    def _mine(self, name: str) -> bool:
        return any(name == one or name.startswith(f"{one}.") for one in self.names)

    def importing(self) -> bool:
        """Whether a module that is given stand-ins is just being imported: what it calls is called later."""
        frame = sys._getframe(1) if self.active else None
        while frame is not None:
            told = frame.f_globals
            begun = getattr(told.get("__spec__"), "_initializing", False)  # not of __main__, which runs until the end
            if begun and frame.f_code.co_name == "<module>" and told.get("__name__", "").startswith(self.within):
                return True
            frame = frame.f_back
        return False

    def resolve(self, module: str, name: str) -> Any:
        """What a name stands for. Raises Used where nothing may be imported, else what its import raises."""
        self.used = True
        if not self.imports:
            raise Used(f"{module}.{name} is used")
        active, self.active = self.active, False
        try:
            return getattr(importlib.import_module(module), name)
        finally:
            self.active = active


LATER = "__zobench_imported_when_read__"
"""In a module: the names in it that are imported when they are read as its attributes."""


def imported_when_read(name: str) -> None:
    """Let `torch.distributed.tensor` be read where torch.distributed is imported, as if it had not been put off.

    Other libraries read it so and import it nowhere, as transformers has done so before them: peft, for one.
    """
    above, _, last = name.rpartition(".")
    if above not in sys.modules or name in sys.modules:
        return
    module = sys.modules[above].__dict__
    if LATER in module:
        module[LATER].add(last)
        return
    names, before = {last}, module.get("__getattr__")

    def read(attribute: str) -> Any:
        if attribute in names:
            try:
                return importlib.import_module(f"{above}.{attribute}")
            except ImportError as e:  # hasattr and getattr with a default ask, as before, and hear that there is none
                raise AttributeError(f"module {above!r} has no attribute {attribute!r}") from e
        if before is not None:
            return before(attribute)
        raise AttributeError(f"module {above!r} has no attribute {attribute!r}")

    module[LATER], module["__getattr__"] = names, read


class StandIn(ModuleType):
    """A module that was not imported, for one import statement."""

    def __init__(self, name: str, deferral: Deferral) -> None:
        super().__init__(name)
        self.__dict__["_deferral"] = deferral

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        module, deferral = self.__name__, self.__dict__["_deferral"]
        return NotImported(lambda: deferral.resolve(module, name), module, name, deferral)


class NotImported:
    """A name of a module that is imported when this is used; or what a call of one gives, which is made then.

    To ask whether something is an instance of it imports nothing: where the module was not imported, nothing is.
    """

    def __init__(self, make: Callable[[], Any], module: str, name: str, deferral: Deferral) -> None:
        self._make, self._module, self._name, self._deferral = make, module, name, deferral

    def _real(self) -> Any:
        if "_made" not in self.__dict__:
            self._made = self._make()
        return self._made

    def _there(self) -> Any:
        """What it stands for, where its module is imported already; an empty tuple, of which nothing is one, if not."""
        return self._real() if self._module in sys.modules else ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._then(lambda: getattr(self._real(), name), f".{name}")

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._then(lambda: self._real()(*args, **named), "(...)")

    def _then(self, make: Callable[[], Any], said: str) -> Any:
        """What `make` makes of it: now, or when it is used where a module is just being imported."""
        if not self._deferral.importing():
            return make()
        return NotImported(make, self._module, f"{self._name}{said}", self._deferral)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """As a function in a class is bound: a method may have a decorator that was put off."""
        return self if instance is None else self._real().__get__(instance, owner)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self._there())

    def __subclasscheck__(self, cls: type) -> bool:
        return issubclass(cls, self._there())

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self._real(),) if self._deferral.imports else ()

    def __or__(self, other: Any) -> Any:
        return self._then(lambda: self._real() | other, " | ...")

    def __ror__(self, other: Any) -> Any:
        return self._then(lambda: other | self._real(), " | ...")

    def __repr__(self) -> str:
        self._deferral.used = True  # who shows it would show what it stands for
        return f"<{self._module}.{self._name}, imported when used>"


@contextmanager
def put_off(*names: str, within: tuple[str, ...] = ("",), imports: bool = True) -> Iterator[Deferral]:
    """Inside, import statements for these modules and those below them (`scipy.optimize`) that were not imported before
    import nothing; what they are given imports the module when it is used, then or later.

    within: only import statements of modules whose names begin so. imports: False: to use something raises Used.
    """
    before = builtins.__import__
    deferral = Deferral(names, within, imports=imports)
    for name in names:
        if name.rpartition(".")[0] in sys.modules:
            deferral.lend(name)
    builtins.__import__ = deferral
    try:
        yield deferral
    finally:
        builtins.__import__ = before
        deferral.end()


@contextmanager
def uncollected() -> Iterator[None]:
    """Inside, Python looks for no garbage: imports make half a million objects that stay, which it would go through
    again and again.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
