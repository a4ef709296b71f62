"""A model as its config and tokenizer say it is, without its weights: all that planning asks for."""

from __future__ import annotations

from dataclasses import fields
from functools import cached_property
from typing import Any

import torch

from .. import devices
from ..errors import ZobenchError
from ..forwards import CACHES
from .capabilities import Capabilities
from .folder import ModelFolder, find, told
from .lightly import lightly
from .load import DTYPES, LoadedModel, adopt, check_dtype
from .reading import read_config, read_tokenizer, reading
from .speech import Speech
from .window import window


class Outline(LoadedModel):
    """A LoadedModel whose tensors lie on the meta device: they have names, shapes and dtypes, and no values.

    What can only be measured is taken to be as it is of most decoders (`capabilities`).
    """

    @cached_property
    def capabilities(self) -> Capabilities:
        """As those of most decoders; windows and the tokenizer's habits are this model's own."""
        speech, blocks = Speech.of(self.tokenizer, self.vocabulary), self._has_blocks()
        return Capabilities(
            causal=True,
            padding="masked",
            window=window(self),
            packs=True,
            last_block=blocks,
            cuts=blocks,
            points=True,
            cache=CACHES[1],
            ends=speech.ends,
            beyond=speech.beyond,
            newline=speech.newline,
            unreached=[],
            noise=0.0,
        )

    def _has_blocks(self) -> bool:
        """Whether decoder blocks are found, which only a selector that wants one minds."""
        try:
            return bool(self.blocks)
        except ZobenchError:
            return False

    @cached_property
    def unreached(self) -> list[str]:
        """None are known: that takes a forward."""
        return []


def outline(
    spec: str, *, dtype: str = "float32", device: str = "auto", offline: bool = False, pinned: str | None = None
) -> Outline:
    """The outline of a model in a folder or of the hub: arguments and errors as those of `load_model`.

    Of a folder the headers of weights are checked, tensors are not read; of the hub weights are not downloaded.
    """
    check_dtype(dtype)
    devices.check(device)
    folder = find(spec, offline=offline, pinned=pinned, weights=False)
    tokenizer, config = read_tokenizer(folder, spec), read_config(folder, spec)
    with told(spec):
        return of_config(config, tokenizer, folder, spec, dtype=dtype, device=device)


def of_config(config: Any, tokenizer: Any, folder: ModelFolder, spec: str, *, dtype: str, device: str) -> Outline:
    """The outline of what this config describes."""
    with reading(f"--model {spec}: cannot load {folder.path}"), lightly(), torch.device("meta"):
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_config(config, dtype=DTYPES[dtype], trust_remote_code=False)
    made = adopt(model, tokenizer, name=folder.name, revision=folder.revision)
    out = Outline(**{f.name: getattr(made, f.name) for f in fields(made)})
    out.device = planned_device(device)
    return out


def planned_device(device: str) -> torch.device:
    """Where `device` would put inputs; nothing is opened there. ZobenchError for a name that is no device's."""
    devices.check_name(device)
    kind, _, number = (devices.best() if device == "auto" else device).partition(":")
    return torch.device(kind, int(number or 0)) if kind in devices.GPUS else torch.device(kind)
