"""How the last positions of rows are given to the head. A CPU multiplies 16 bits row after row alone fast."""

import pytest
import torch
from kits.tiny_models import tiny

from zobench.models.forward import Forward

IDS = torch.tensor([[3, 4, 5, 6, 7], [8, 9, 10, 11, 12]])


def strides(dtype, rows, last):
    """Of the head's input: those found, and those of a tensor of its shape that was made for it."""
    made, found = tiny("llama"), []
    made.model.to(dtype)
    head = made.model.get_output_embeddings()
    watched = head.register_forward_hook(lambda module, args, out: found.append(args[0]))
    logits = Forward.of(made).rows(IDS[:rows], None, last)
    watched.remove()
    whole = made.model(input_ids=IDS[:rows], use_cache=False).logits[:, -last:]
    assert torch.allclose(logits.float(), whole.float(), atol=0.05)
    return found[0].stride(), torch.empty(found[0].shape).stride()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("rows", "last"), [(1, 1), (1, 3), (2, 1), (2, 3)])
def test_row_after_row_in_16_bits(dtype, rows, last):
    found, wanted = strides(dtype, rows, last)
    assert found == wanted


def test_a_slice_as_it_is_in_32_bits():
    found, wanted = strides(torch.float32, 2, 3)
    assert found != wanted
