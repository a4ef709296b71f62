"""In-context learning: the model as it is, shown solved training items before each question."""

from __future__ import annotations

from typing import ClassVar, Literal

from zobench import Count

from .zero_shot import ZeroShot


class ICL(ZeroShot):
    """No training: items are scored after demonstrations, training items with their right answers.

    Paper: Brown et al. 2020 (arXiv:2005.14165), section 2; as MeZO's reference: Malladi et al. 2023 (arXiv:2305.17333),
    section 3 and appendix E. The demonstrations are apart by an empty line. Only dev and test of this row are scored
    with them: its zero-shot score, and all other rows, go by the protocol. Rows that are too long for the model or for
    `max_length` lose tokens on the left, so demonstrations first.

    Defaults: 32 demonstrations, the same ones for all items (released README and script of MeZO). They are the first of
    the training items; `data_seed` draws others. Forwards a step: none. State: none.
    """

    reference: ClassVar[str] = "Brown et al. 2020, arXiv:2005.14165, section 2 (no training)"
    public_code: ClassVar[str] = "princeton-nlp/MeZO (MIT): no defect known"
    verified: ClassVar[bool | None] = True
    scored_by: ClassVar[tuple[str, ...]] = ("demonstrations", "demonstration_sets")

    demonstrations: Count = 32
    """Training items shown before every item that is scored."""
    demonstration_sets: Literal["fixed", "per_item"] = "fixed"
    """The first training items for all, or drawn anew from the training pool for each item."""
