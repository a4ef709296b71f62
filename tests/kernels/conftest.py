"""Triton's interpreter, made cheaper."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def patched_once_a_launch() -> Iterator[None]:
    """A launch patches triton's language; each call inside it would do so again, on top: a third of the time of all.

    Versions of triton that do this in another way are left as they are.
    """
    if os.environ.get("TRITON_INTERPRET") != "1":
        yield
        return
    from triton.runtime import interpreter

    if not hasattr(interpreter, "_LangPatchScope"):
        yield
        return
    patch_lang, within = interpreter._patch_lang, []

    class Launch(interpreter._LangPatchScope):
        def restore(self) -> None:
            within.clear()
            super().restore()

    def once(function):
        if not within:
            within.append(True)
            return patch_lang(function)
        return interpreter._LangPatchScope()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, "_LangPatchScope", Launch)
        patch.setattr(interpreter, "_patch_lang", once)
        yield
