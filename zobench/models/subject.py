"""A model as what measures and calls it sees it: the part of a LoadedModel that needs no measurement, and the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from .blocks import Block


class Subject(Protocol):
    """What is known of a model before anything is measured on it (the attributes of zobench.LoadedModel)."""

    @property
    def name(self) -> str:
        """As the user named it."""

    @property
    def model(self) -> Any:
        """A transformers PreTrainedModel."""

    @property
    def tokenizer(self) -> Any:
        """A transformers tokenizer."""

    @property
    def device(self) -> torch.device:
        """Where inputs go."""

    @property
    def context_length(self) -> int:
        """The most tokens of one row."""

    @property
    def pad_id(self) -> int:
        """The token that fills rows up."""

    @property
    def vocabulary(self) -> int:
        """Ids of tokens are below."""

    @property
    def blocks(self) -> list[Block]:
        """The decoder blocks in order. ZobenchError where the model's structure has none."""

    @property
    def unreached(self) -> list[str]:
        """Modules and parameters that a forward over text does not reach."""

    def named_parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        """(name, parameter) of those that it reaches."""
