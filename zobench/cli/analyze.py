"""`zobench analyze`: look into a model without training it, and into what training gave."""

from __future__ import annotations

import typer

from . import controls
from .activations import activations
from .costs import cost
from .curves import curves
from .interventions import transforms
from .layers import layers
from .methods import methods
from .propagation import propagation
from .ranks import factors, ranks
from .sensitivity import sensitivity

app = typer.Typer(no_args_is_help=True)


@app.callback()
def analyze() -> None:
    """Look into a model: the activations that selectors go by, and what its blocks do alone."""


for command in (activations, layers, methods, ranks, factors, sensitivity, propagation, cost, curves, transforms):
    app.command()(command)

app.add_typer(controls.app, name="controls")
