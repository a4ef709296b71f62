"""`zobench analyze`: look into a model without training it, and into what training gave."""

from __future__ import annotations

from collections.abc import Callable

import typer

from . import controls, epilog
from .activations import activations
from .around import channels, combine
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


EXAMPLES: dict[Callable[..., None], tuple[str, ...]] = {
    activations: ("--model facebook/opt-125m --task sst2 --data-dir DATA", "--model MODEL --tasks all --plot a.png"),
    sensitivity: (
        "--model MODEL --tasks sst2,copa --plot sensitivity.pdf",
        "--tasks rte --seeds 0,1,2,3,4,5 --json looks.json",
    ),
    propagation: ("--model MODEL --tasks sst2,copa --plot propagation.pdf",),
    layers: ("runs --plot layers.png",),
    channels: ("runs --plot channels.pdf", "runs --tasks sst2,rte --seeds 0,1,2 --json channels.json"),
    combine: ("runs --plot combine.pdf", "runs --tasks sst2 --seeds 0,1,2", "runs --block 1"),
    transforms: ("plain moved --plot transforms.png",),
    curves: ("runs --plot curves.png",),
    cost: ("runs --plot cost.png",),
    methods: ("runs --against mezo,n_spsa,mezo_normalized --plot methods.png",),
    ranks: ("runs --plot ranks.png",),
    factors: ("runs --plot factors.png",),
}
"""The commands, in the order of their list, each with what may stand after it."""

for command, lines in EXAMPLES.items():
    app.command(epilog=epilog([f"zobench analyze {command.__name__} {line}" for line in lines]))(command)

app.add_typer(controls.app, name="controls")
