"""What the fields of an item may hold: known values of a label, say, or text. Declared in a task file. Light.

    [source.values]
    label = [0, 1]
    question = ["cause", "effect"]
    "answers.text" = "texts"

A value that is not declared would be taken for another one by a template's `if`, or printed as it is into a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ZobenchError

Known = bool | int | str

KINDS: Mapping[str, str] = {"text": "a text", "texts": "a list of texts"}
"""What a field may be declared to hold, where it is not one of a list of values."""


@dataclass(frozen=True)
class Values:
    """What one field holds."""

    field: str
    """Its name, which may have dots."""
    known: tuple[Known, ...] = ()
    """The values that it may have; empty: any of its kind."""
    kind: str = ""
    """Of any value: "text" or "texts"."""

    @property
    def root(self) -> str:
        """The item's own field: `answers` of `answers.text`."""
        return self.field.partition(".")[0]

    def read(self, item: Mapping[str, Any]) -> Any:
        """The field's value as the task knows it, None where the item has none.

        Texts are known in upper and lower case; numbers and truth values only as what they are: `true` is not 1, nor
        "1". Raises ZobenchError that names field, value and what is known; its caller names the item.
        """
        value: Any = item
        for name in self.field.split("."):
            if not isinstance(value, Mapping):
                raise ZobenchError(f"the field {self.field}: {_shown(value)} has no part {name!r}")
            value = value.get(name)
            if value is None and name == self.root:
                return None  # whether an item may lack it is said in source.fields
        if not self.known:
            return self._of_kind(value)
        for one in self.known:
            if type(one) is type(value) and (
                one == value or (isinstance(one, str) and one.lower() == str(value).lower())
            ):
                return one
        hidden = "; -1 stands for a label that is hidden: take a split with labels" if _hidden(value) else ""
        known = ", ".join(map(_shown, self.known))
        raise ZobenchError(
            f"the field {self.field} is {_shown(value)}, which the task does not know; known: {known}{hidden}"
        )

    def _of_kind(self, value: Any) -> Any:
        if self.kind == "text" and isinstance(value, str):
            return value
        if self.kind == "texts" and isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
            return value
        raise ZobenchError(f"the field {self.field} is {_shown(value)}, not {KINDS[self.kind]}")


def declared(table: Mapping[str, Any], names: frozenset[str], where: str) -> tuple[Values, ...]:
    """The table `source.values` of a task file. Raises ZobenchError, with `where` at its head, for what is none."""
    out = []
    for name, said in table.items():
        key = f"{where}: source.values.{name}"
        if name.partition(".")[0] not in names:
            raise ZobenchError(f"{key}: no such field in source.fields; it has {', '.join(sorted(names))}")
        if isinstance(said, str) and said in KINDS:
            out.append(Values(name, kind=said))
        elif isinstance(said, list) and said and all(isinstance(one, bool | int | str) for one in said):
            if "." in name:
                raise ZobenchError(f"{key}: known values are those of a field of the item, not of a part of one")
            out.append(Values(name, known=tuple(said)))
        else:
            raise ZobenchError(f'{key} must be a list of the values that are known, "text" or "texts", not {said!r}')
    return tuple(out)


def read(
    values: tuple[Values, ...], alternatives: tuple[tuple[str, ...], ...], item: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The item with every declared field as the task knows it; the same object where nothing differs.

    Fields that stand for each other (`answer|label`) and are both there must say the same. Raises ZobenchError.
    """
    changed: dict[str, Any] = {}
    for one in values:
        value = one.read(item)
        if one.known and value is not None and value is not item[one.field] and value != item[one.field]:
            changed[one.field] = value
    known = {one.field for one in values if one.known}
    for names in alternatives:
        said = {name: item[name] for name in names if name in known and item.get(name) is not None}
        if len(set(said.values())) > 1:
            each = ", ".join(f"{name} is {_shown(value)}" for name, value in said.items())
            raise ZobenchError(f"the fields contradict each other: {each}; keep one of them")
    return {**item, **changed} if changed else item


def _hidden(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value == -1


def _shown(value: Any) -> str:
    """A value as JSON would have it, cut where it is long."""
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
