"""The place of the model that comes with the package, for runs without network, GPU or `--model`."""

from __future__ import annotations

from typing import NoReturn

from ...errors import ZobenchError


def load(*, dtype: str = "float32", device: str = "auto") -> NoReturn:
    """Raises ZobenchError: this version carries no model."""
    raise ZobenchError("this version has no embedded model yet: pass --model PATH_OR_HUB_ID --data-dir DIR")
