"""A trained prompt as peft has one: the embeddings of its virtual tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from ..errors import ZobenchError, library
from .export_prefix import TOLERANCE, text_for

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.load import LoadedModel


@torch.no_grad()
def save_prompt(loaded: LoadedModel, tensors: Mapping[str, Tensor], wanted: Tensor, out: Path) -> None:
    """Write the adapter into `out`. wanted: the logits of `text_for` with the prompt as it was trained.

    Raises ZobenchError where the prompt before a text, as peft puts it there, does not give these logits.
    """
    (prompt,) = tensors.values()
    got = _as_peft(loaded, prompt)
    if not (got.float() - wanted.float()).abs().max() <= TOLERANCE[loaded.dtype] * wanted.float().abs().max():
        raise ZobenchError(
            f"peft puts a prompt before the text, where {type(loaded.model).__name__} answers otherwise; "
            "`zobench replay` writes its embeddings"
        )
    config = library("peft", "export of a prompt").PromptTuningConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=loaded.name,
        num_virtual_tokens=prompt.shape[0],
        token_dim=prompt.shape[1],
        num_attention_heads=int(loaded.model.config.num_attention_heads),
        num_layers=int(loaded.model.config.num_hidden_layers),
        num_transformer_submodules=1,
        inference_mode=True,
    )
    config.save_pretrained(out)
    values = {"prompt_embeddings": prompt.float().contiguous().cpu()}
    save_file(values, out / "adapter_model.safetensors", metadata={"format": "pt"})


def _as_peft(loaded: LoadedModel, prompt: Tensor) -> Tensor:
    """The logits of the text, the prompt's embeddings before its own: the model counts the places itself."""
    ids = text_for(loaded)
    text = loaded.model.get_input_embeddings()(ids)
    whole = torch.cat((prompt[None].to(text), text), 1)
    logits: Tensor = loaded.model(inputs_embeds=whole, attention_mask=ids.new_ones(whole.shape[:2])).logits
    return logits[:, prompt.shape[0] :]
