"""The built-in direction families: one a file, imported on first use."""

from __future__ import annotations

HERE = __name__

FAMILIES = {
    "agzo": f"{HERE}.agzo:AGZODirections",
    "eggroll": f"{HERE}.eggroll:EGGROLL",
    "gaussian": f"{HERE}.plain:Gaussian",
    "guided": f"{HERE}.guided:Guided",
    "lozo": f"{HERE}.lozo:LOZODirections",
    "p_gap": f"{HERE}.p_gap:PGAPDirections",
    "rademacher": f"{HERE}.plain:Rademacher",
    "sparse": f"{HERE}.sparse:Sparse",
    "sphere": f"{HERE}.plain:Sphere",
    "subzero": f"{HERE}.subzero:SubZeroDirections",
    "tezo": f"{HERE}.tezo:TeZODirections",
}
"""Names and homes."""
