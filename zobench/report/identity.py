"""The id of a cell: readable, and a hash over all that changes a number. Light."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from .record import NO_SELECTOR

LONGEST = 60
"""Characters of a name in an id, and so in the names of files, which systems bound: a sum may have many terms."""

_OF_A_FILE = re.compile(r"[^\w.,+=-]", re.ASCII)
"""What no file is called, or not everywhere: a value after a colon may be any text."""


def cell_id(cell: Mapping[str, Any], protocol: Mapping[str, Any]) -> str:
    """`task-estimator-selector-s<seed>-<hash>`; the hash is blake2b over `cell` and `protocol` as sorted JSON."""
    text = json.dumps({"cell": cell, "protocol": protocol}, sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
    selector = "none" if cell["selector"] == NO_SELECTOR else cell["selector"].replace(":", "=")
    names = "-".join(_OF_A_FILE.sub("_", name)[:LONGEST] for name in (cell["task"], cell["estimator"], selector))
    return f"{names}-s{cell['seed']}-{digest}"
