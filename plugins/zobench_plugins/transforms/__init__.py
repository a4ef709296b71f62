"""Changes of the stream between decoder blocks, to ask what it is about a block: names and homes."""

from __future__ import annotations

HERE = __name__

TRANSFORMS = {
    "clamp": f"{HERE}.clamp:Clamp",
    "plant": f"{HERE}.plant:Plant",
}
