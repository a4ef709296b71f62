"""Directions without a structure: Gaussian, of signs, and from a sphere."""

from __future__ import annotations

from typing import ClassVar

from zobench import Direction, Directions, Draws

from ..estimators.norms import rms


class Gaussian(Directions):
    """Every entry N(0, 1): what MeZO looks along (Malladi et al. 2023, arXiv:2305.17333, Definition 1)."""

    reference: ClassVar[str] = "Malladi et al. 2023, arXiv:2305.17333, Definition 1"
    public_code: ClassVar[str] = "princeton-nlp/MeZO (MIT): no defect known"
    verified: ClassVar[bool | None] = True

    def draw(self, of: Draws) -> Direction:
        return of.noise()


class Rademacher(Directions):
    """Every entry -1 or 1, each half of the time: what FZOO looks along (Dang et al. 2025, arXiv:2506.09034)."""

    reference: ClassVar[str] = "Dang et al. 2025, arXiv:2506.09034, Algorithm 1"
    public_code: ClassVar[str] = "DKmiyan/FZOO (MIT): no defect of its directions known"
    verified: ClassVar[bool | None] = True

    def draw(self, of: Draws) -> Direction:
        return of.noise("rademacher")


class Sphere(Directions):
    """Uniform on the sphere of radius sqrt(d), d the entries that may move: what ZO-AdaMM looks along.

    A Gaussian direction divided by the root mean square of its entries, which is found by drawing it once more
    (Chen et al. 2019, arXiv:1910.06513, equation 1, whose sphere has radius 1; eps compares with MeZO's).
    """

    reference: ClassVar[str] = "Chen et al. 2019, arXiv:1910.06513, equation 1"
    public_code: ClassVar[str] = "the authors' (licence not seen): no defect of its directions known"
    verified: ClassVar[bool | None] = True

    def draw(self, of: Draws) -> Direction:
        z = of.noise()
        return z / rms(of, z)
