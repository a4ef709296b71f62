"""A cell leaves the model as it found it: what was loaded is compared after each part of a cell, and put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING

import torch

from ..errors import ZobenchError
from .anatomy import Anatomy, grows
from .checksum import checksums
from .surroundings import Surroundings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..models.load import LoadedModel

SMALL = 2**20
"""Bytes of a buffer that a copy is kept of; larger ones are loaded again as weights are."""
SHOWN = 3
"""Of the names of what was changed those that a message tells."""


class ModelChanged(ZobenchError):
    """A plugin changed the model. By the time this is raised the model is restored."""


class Guard:
    """The model as it was when this was made, and the means to make it that again.

    Looked at are, by name, the modules (which objects they are, their classes, attributes, hooks, training flags), the
    functions of their classes, the configs, the parameters (which objects, requires_grad) and the buffers; and a
    checksum of every tensor's bits, taken where it lies. Buffers are put back from copies, weights from `reload`.

    reload: loads the same model anew, where the host has room for it. None: changed weights cannot be put back.
    warn: is told in a line of flags of the process that were put back (zobench.run.surroundings).
    """

    def __init__(
        self,
        loaded: LoadedModel,
        reload: Callable[[], LoadedModel] | None = None,
        warn: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.loaded, self.reload, self.warn = loaded, reload, warn
        self.model: nn.Module = loaded.model
        self.fields = {f.name: getattr(loaded, f.name) for f in fields(loaded)}
        self.anatomy = Anatomy(self.model)
        self.tensors = dict(_tensors(self.model))
        self.sums = checksums(self.tensors.items())
        self.places = {name: t.device for name, t in self.tensors.items()}
        buffers = self.model.named_buffers(remove_duplicate=False)
        self.copies = {name: b.clone() for name, b in buffers if b.numel() * b.element_size() <= SMALL}
        self.surroundings = Surroundings()
        self.found: list[str] = []
        """What was said of the cell at hand: a part that hides an error does not pass."""
        self.broken: str | None = None
        """Why no further cell can run on this model."""

    def begin(self, cell: str) -> None:
        """A cell begins: put back what was changed since the last one, and say so.

        Raises ZobenchError where the model cannot be made what it was.
        """
        self.surroundings, self.found = Surroundings(), []
        changed = [] if self.broken else self.put_back()
        if self.broken:
            raise ZobenchError(f"{cell} cannot run: an earlier cell changed the model, and {self.broken}")
        if changed:
            self.warn(f"before {cell} something changed the model: {_few(changed)}; it is put back")

    @contextmanager
    def wearing(self, changes: AbstractContextManager[None]) -> Iterator[None]:
        """Inside, what `changes` attaches is part of the model, and is put back as all else is."""
        plain = self.anatomy
        with changes:
            self.anatomy = Anatomy(self.model)
            try:
                yield
            finally:
                self.anatomy = plain

    def check(self, who: str) -> None:
        """Put back what is not as it was. Raises ModelChanged, which says what `who` changed, where anything is not."""
        changed = self.put_back()
        if changed:
            self.found.append(f"{who} left the model changed: {_few(changed)}; {self.broken or 'it is put back'}")
        if self.found:
            raise ModelChanged("; ".join(self.found))

    @contextmanager
    def watching(self, who: str) -> Iterator[None]:
        """Inside, `who` is at work; afterwards the model is compared, and restored if it was changed. Raises
        ModelChanged then.

        What is raised inside is passed on, after the model was restored, with a note on what was changed.
        """
        try:
            yield
        except BaseException as e:
            if changed := self.put_back():
                e.add_note(f"{who} left the model changed: {_few(changed)}; {self.broken or 'it is put back'}")
            raise
        finally:
            if flags := self.surroundings.put_back():
                self.warn(f"{who} changed of the process: {', '.join(flags)}; put back")
        self.check(who)

    def put_back(self) -> list[str]:
        """Make the model what it was; the names of what was another."""
        changed = []
        for name, was in self.fields.items():
            if getattr(self.loaded, name) is not was:
                changed.append(f"loaded.{name}")
                setattr(self.loaded, name, was)
        changed += self.anatomy.put_back()
        now = checksums(self.tensors.items())  # which are the model's own again by now
        other = [n for n, t in self.tensors.items() if now[n] != self.sums[n] or t.device != self.places[n]]
        if other:
            self._restore(other)
        return changed + [n for n in other if not (n in self.copies and grows(_owner(self.model, n)))]

    @torch.no_grad()
    def _restore(self, names: list[str]) -> None:
        """Values of tensors, from copies or from the model loaded anew."""
        tensors, why = self.tensors, "it cannot be loaded again"
        for name in names:
            if name in self.copies:
                _assign(tensors[name], self.copies[name], self.places[name])
        missing = [name for name in names if name not in self.copies]
        if missing and self.reload is not None:
            try:
                fresh = dict(_tensors(self.reload().model))
                for name in missing:
                    _assign(tensors[name], fresh[name], self.places[name])
            except (ZobenchError, OSError, MemoryError, RuntimeError, KeyError) as e:
                why = f"it cannot be loaded again ({(str(e) or type(e).__name__).splitlines()[0]})"
        now = checksums((name, tensors[name]) for name in names)
        if any(now[name] != self.sums[name] for name in names):
            self.broken = f"{why}: run the same command again, without what changes it"


def _assign(tensor: Tensor, value: Tensor, device: torch.device) -> None:
    """Make the tensor hold a copy of the value on its device, whatever its shape and dtype are now."""
    tensor.data = value.detach().to(device, copy=True)


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers, tied ones under each of their names."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _owner(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def _few(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
