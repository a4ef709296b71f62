"""Settings: declared by annotations, converted from text, checked."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import pytest

from zobench.errors import ZobenchError
from zobench.settings import (
    Count,
    Fraction,
    Natural,
    NonNegative,
    Positive,
    Range,
    convert,
    describe,
    resolve,
    settings_of,
)


class Base:
    eps: Positive = 1e-3
    name: ClassVar[str] = "base"


class Method(Base):
    eps: Positive = 1e-2
    n: Count = 4
    index: tuple[Natural, ...] = ()
    mode: Literal["mask", "never"] = "mask"
    ratio: NonNegative | None = None
    share: Fraction = 0.5
    keep: bool = False
    label: str = "x"
    beta: Annotated[float, Range(ge=0, lt=1)] = 0.9
    _hidden: int = 3
    declared_only: int


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("eps", "1e-4", 1e-4),
        ("eps", 1, 1.0),
        ("n", "7", 7),
        ("index", "1,30", (1, 30)),
        ("index", "5", (5,)),
        ("index", " 1 , 2,", (1, 2)),
        ("index", "", ()),
        ("index", [3, "4"], (3, 4)),
        ("index", 3, (3,)),
        ("mode", "never", "never"),
        ("ratio", "none", None),
        ("ratio", "", None),
        ("ratio", None, None),
        ("ratio", "0", 0.0),
        ("share", "1", 1.0),
        ("keep", "yes", True),
        ("keep", "OFF", False),
        ("keep", True, True),
        ("label", "5", "5"),
        ("beta", "0", 0.0),
    ],
)
def test_values_are_converted(name, text, value):
    got = resolve(Method, {name: text})[name]
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("eps", "0", "Method.eps=0: must be above 0"),
        ("eps", "-1", "Method.eps=-1: must be above 0"),
        ("eps", "nan", "Method.eps=nan: must be above 0"),
        ("eps", "small", "Method.eps=small: not a number"),
        ("eps", True, "Method.eps=True: not a number"),
        ("eps", None, "Method.eps=None: not a number"),
        ("n", "0", "Method.n=0: must be at least 1"),
        ("n", "2.5", "Method.n=2.5: not a whole number"),
        ("n", 2.0, "Method.n=2.0: not a whole number"),
        ("index", "1,-1", "Method.index=-1: must be at least 0"),
        ("index", "1,x", "Method.index=x: not a whole number"),
        ("mode", "nevr", "Method.mode=nevr: unknown choice 'nevr'; did you mean 'never'?"),
        ("ratio", "-1", "Method.ratio=-1: must be at least 0"),
        ("share", "1.5", "Method.share=1.5: must be at least 0 and at most 1"),
        ("keep", "maybe", "Method.keep=maybe: not true or false"),
        ("beta", "1", "Method.beta=1: must be at least 0 and below 1"),
        ("eps", "inf", "Method.eps=inf: must be finite"),
        ("eps", "1e999", "Method.eps=1e999: must be finite"),
        ("eps", "", "Method.eps=: not a number"),
        ("eps", 10**400, f"Method.eps={10**400}: not a number"),
        ("ratio", "inf", "Method.ratio=inf: must be finite"),
        ("ratio", "nan", "Method.ratio=nan: must be at least 0"),
        ("n", str(2**63), f"Method.n={2**63}: must be below 2^63"),
        ("n", "9" * 5000, f"Method.n={'9' * 5000}: not a whole number"),
        ("n", "inf", "Method.n=inf: not a whole number"),
        ("n", "\u00b2", "Method.n=\u00b2: not a whole number"),
        ("n", "", "Method.n=: not a whole number"),
        ("index", f"1,{2**64}", f"Method.index={2**64}: must be below 2^63"),
        ("index", "1;2", "Method.index=1;2: not a whole number"),
    ],
)
def test_what_does_not_fit_is_refused(name, text, message):
    with pytest.raises(ZobenchError) as e:
        resolve(Method, {name: text})
    assert str(e.value) == message


def test_an_unknown_setting_gets_the_nearest():
    with pytest.raises(ZobenchError, match="unknown setting of Method 'epss'; did you mean 'eps'?"):
        resolve(Method, {"epss": 1})
    with pytest.raises(ZobenchError, match="unknown setting of m '_hidden'"):
        resolve(Method, {"_hidden": 1}, owner="m")


def test_defaults_of_all_settings_the_bases_first():
    assert list(settings_of(Method)) == "eps n index mode ratio share keep label beta".split()
    assert resolve(Method, {}) == {
        "eps": 1e-2,
        "n": 4,
        "index": (),
        "mode": "mask",
        "ratio": None,
        "share": 0.5,
        "keep": False,
        "label": "x",
        "beta": 0.9,
    }
    assert settings_of(Base)["eps"].default == 1e-3


def test_an_unbounded_number_may_be_infinite():
    assert convert("inf", float, "x") == math.inf
    with pytest.raises(ZobenchError, match="x=nan: not a number"):
        convert("nan", float, "x")
    with pytest.raises(ZobenchError, match="x=nan: not a number"):
        convert("1,nan", tuple[float, ...], "x")


def test_a_type_that_settings_cannot_have_is_a_bug_of_the_plugin():
    class Odd:
        table: dict = {}  # noqa: RUF012

    with pytest.raises(TypeError, match="settings cannot be of type"):
        resolve(Odd, {"table": "x"})


def test_types_in_words():
    words = {name: setting.describe_type() for name, setting in settings_of(Method).items()}
    assert words["eps"] == "a number above 0"
    assert words["index"] == "comma-separated, each a whole number at least 0"
    assert words["mode"] == "one of mask|never"
    assert words["ratio"] == "a number at least 0 or none"
    assert words["beta"] == "a number at least 0 and below 1"
    assert describe(bool) == "true or false"


def test_a_default_that_a_class_sets_without_a_type_is_its_own():
    class Careful(Base):
        eps = 1e-5

    assert settings_of(Careful)["eps"].default == resolve(Careful, {})["eps"] == 1e-5
