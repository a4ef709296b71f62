"""Secrets out of text: the one place that is asked wherever something is written or shown. Light.

Found are tokens by their form (Hugging Face, GitHub, GitLab, OpenAI and its like, Slack, AWS, Google, JSON web tokens),
what is given to a name that speaks of a secret (`api_key=...`, `--token ...`, `Bearer ...`), passwords in URLs, and
the values of environment variables and settings with such names, wherever they stand.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

HIDDEN = "[redacted]"

_NAME = (
    r"(?:[\w.-]*[_.-])?(?<!pad_)(?<!bos_)(?<!eos_)(?<!unk_)(?<!mask_)(?<!cls_)(?<!sep_)"  # a tokenizer's are no secrets
    r"(?:token|secret|passw(?:or)?d|passphrase|credentials?|(?:api|access|private|secret)[_-]?key|auth|authorization)"
)
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
_FORMS = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:hf|api_org)_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|sk-[\w-]{16,}|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{4,})"
)
_IN_URL = re.compile(r"(?<=://)[^\s/@'\"]+(?=@)")
_BEARER = re.compile(r"(?<=\bbearer )[\w.~+/=-]{6,}|(?<=\bbasic )[\w.~+/=-]{12,}", re.IGNORECASE)
_GIVEN = re.compile(
    rf"(?<![\w.-])(?:{_NAME}[\"']?(?:=|:\s?)|--{_NAME}\s+)(?!bearer |basic )"
    r"(\"[^\"\n]+\"|'[^'\n]+'|[^\s\"',;&()\[\]]{4,})",
    re.IGNORECASE,
)
_HINT = re.compile("token|secret|passw|passphrase|credential|key|auth", re.IGNORECASE)
"""What a name of `_GIVEN` holds: quickly asked of the thousands of strings that hold none."""
_VARIABLE = re.compile(
    r"(?:TOKEN(?!IZER)|SECRET|PASSW(?:OR)?D|PASSPHRASE|CREDENTIAL|(?:API|ACCESS|PRIVATE)_?KEY|_AUTH$)"
    r"(?!.*_(?:PATH|FILE|DIR|URL|SOCK)$)",
    re.IGNORECASE,
)
_SHORTEST = 8
"""Characters of a value that is looked for wherever it stands: a shorter one may be a part of any word."""
_seen: set[str] = set()
"""Values that stood under a secret's name before: an error may say them again, without the name."""


def text(said: str) -> str:
    """The text with every secret in it replaced by `[redacted]`. What was redacted before stays as it is."""
    return _text(said, _Known())


def _text(said: str, known: _Known) -> str:
    for value in known.values():
        said = said.replace(value, HIDDEN)
    said = _FORMS.sub(HIDDEN, said)
    if "://" in said:
        said = _IN_URL.sub(HIDDEN, said)
    if " " in said:
        said = _BEARER.sub(HIDDEN, said)
    return _GIVEN.sub(_without_value, said) if _HINT.search(said) else said


def arguments(given: Sequence[str]) -> list[str]:
    """The words of a command line, each as `text`; what follows a secret's name, whole, blanks and all."""
    out: list[str] = []
    known = _Known()
    after = False  # an option that wants a secret
    for word in given:
        name, sign, value = word.partition("=")
        if after and not word.startswith("--"):
            _seen.add(word)
            out.append(HIDDEN)
        elif sign and _SECRET_NAME.fullmatch(name.lstrip("-")):
            _seen.add(value)
            out.append(f"{name}={HIDDEN}")
        else:
            out.append(_text(word, known))
        after = word.startswith("--") and not sign and _SECRET_NAME.fullmatch(word[2:]) is not None
    return out


def clean(value: Any) -> Any:
    """A copy of JSON-like data with `text` applied to its strings, and none under a name that tells of a secret."""
    return _clean(value, _Known())


def _clean(value: Any, known: _Known) -> Any:
    if isinstance(value, str):
        return _text(value, known)
    if isinstance(value, Mapping):
        return {key: _under(key, one, known) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one, known) if isinstance(one, str | Mapping | list | tuple) else one for one in value]
    return value


def _under(key: object, value: Any, known: _Known) -> Any:
    if not (isinstance(value, str) and value and isinstance(key, str) and _names_a_secret(key)):
        return _clean(value, known)
    _seen.add(str(value))
    return HIDDEN


@functools.lru_cache(maxsize=4096)
def _names_a_secret(key: str) -> bool:
    """Whether a value under this name is one: records have the same few names a thousand times."""
    return _SECRET_NAME.fullmatch(key) is not None


def _without_value(found: re.Match[str]) -> str:
    start, value = found.start(1), found.group(1)
    quote = value[0] if value[0] in "\"'" else ""
    return f"{found.string[found.start() : start]}{quote}{HIDDEN}{quote}"


class _Known:
    """The secrets that this process knows of, for the strings of one call: the environment is looked through once."""

    def __init__(self) -> None:
        self.given = {os.environ[name].strip() for name in _secret_variables(tuple(os.environ))}
        self.seen, self.found = -1, list[str]()

    def values(self) -> list[str]:
        """Those of now, the longest first: one may be a part of another."""
        if self.seen != len(_seen):  # a string before this one may have stood under a secret's name
            self.seen = len(_seen)
            long = (v for v in _seen | self.given if len(v) >= _SHORTEST and v != HIDDEN)
            self.found = sorted(long, key=len, reverse=True)
        return self.found


@functools.lru_cache(maxsize=4)
def _secret_variables(names: tuple[str, ...]) -> list[str]:
    return [name for name in names if _VARIABLE.search(name)]
