"""Models of random weights in the shapes of real ones: their speed is the real ones', and nothing is downloaded."""

from __future__ import annotations

import torch

from .. import devices
from ..errors import ZobenchError, out_of_memory, unknown
from ..models.lightly import lightly
from ..models.load import DTYPES, LoadedModel
from ..models.shapes import SHAPES


def random_model(shape: str, *, dtype: str, device: str, seed: int = 0) -> LoadedModel:
    """A causal language model with random weights, made on the device, without a tokenizer.

    Weights are as its class begins with: normal, standard deviation 0.02, norms 1. Raises ZobenchError for an unknown
    shape or dtype, and where the device cannot hold it.
    """
    if shape not in SHAPES:
        raise ZobenchError(unknown("shape of --random-weights", shape, SHAPES))
    if dtype not in DTYPES:
        raise ZobenchError(unknown("dtype", dtype, DTYPES))
    devices.check(device)
    kind, settings, _ = SHAPES[shape]
    place = torch.device(devices.best() if device == "auto" else device)
    try:
        with lightly(), devices.streams_kept(), torch.device(place):
            from transformers import AutoConfig, AutoModelForCausalLM

            config = AutoConfig.for_model(kind, **settings, attn_implementation="sdpa")
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(config, dtype=DTYPES[dtype])
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise ZobenchError(f"--random-weights {shape} in {dtype} does not fit on {place}: {error}") from error
    return LoadedModel(
        name=f"random {shape}",
        revision=None,
        model=model.eval().requires_grad_(False),
        tokenizer=None,
        device=place,
        dtype=dtype,
        context_length=int(settings["max_position_embeddings"]),
        pad_id=0,
    )
