"""`--set directions=lozo`: the words of a run written into the names of its estimators (zobench.plugins.along)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from ..errors import ZobenchError, unknown
from ..plugins.along import SETTING, is_expression, joined, parts
from .wish import Wish


def of_settings(wish: Wish, refuses: Callable[[str], str], tell: Callable[[str], None], named: Iterable[str]) -> Wish:
    """The wish with `--set directions=lozo` written into its estimators, `--set mezo.directions=lozo` into that one.

    refuses: why an estimator takes none. One that refuses and was not `named` is left out, and told of. ZobenchError
    for one that refuses, for two families at once, and for the directions of an estimator that is not there.
    """
    settings = dict(wish.settings)
    every = settings.pop(SETTING, None)
    own = {key.removesuffix(f".{SETTING}"): key for key in settings if key.endswith(f".{SETTING}")}
    chosen = {name: settings.pop(key) for name, key in own.items()}
    split = {name: parts(name) if is_expression(name) else (None, name, None) for name in wish.estimators}
    bare = {name for _, name, _ in split.values()}
    if strange := next((name for name in chosen if name not in bare), None):
        raise ZobenchError(f"--set {own[strange]}: " + unknown("estimator of this run", strange, bare))
    asked, out = set(named), []
    for name in wish.estimators:
        around, plain, has = split[name]
        family = chosen.get(plain, every)
        if family is None:
            out.append(name)
        elif has is not None:
            raise ZobenchError(
                f"--set {SETTING}={family}: estimator {name} has its directions in its name; leave one out"
            )
        elif why := refuses(plain):
            if name in asked or plain in chosen:
                raise ZobenchError(f"estimator {name} takes no directions: {why}")
            tell(f"left out of `all`: estimator {name} takes no directions: {why}")
        else:
            out.append(joined(around, plain, family))
    return replace(wish, estimators=tuple(out), settings=settings)
