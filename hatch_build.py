"""The long description: README.md as an index page can show it. Part of building a distribution alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Readme(MetadataHookInterface):
    """README.md, with no link or picture that would be dead away from the repository.

    The project has no public address to link to: a picture of the repository becomes its caption, and a link into the
    repository the file's name, both of which the sdist has. With an address, they become links to it.
    """

    def update(self, metadata: dict[str, Any]) -> None:
        """Set `readme` of the metadata."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        here = r"\((?!https?://|#)([^)]*)\)"
        text = re.sub(r"!\[([^\]]*)\]" + here, r"*\1: `\2`.*", text)
        text = re.sub(r"\[([^\]]*)\]\(\1\)", r"`\1`", text)
        text = re.sub(r"\[([^\]]*)\]" + here, r"\1 (`\2`)", text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
