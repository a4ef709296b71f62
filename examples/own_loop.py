# %% [markdown]
# # Zeroth-order steps in your own training loop
#
# Any estimator of zobench is a `torch.optim.Optimizer` for any model: no harness, no backward pass. Run it with
# `python examples/own_loop.py`, or cell by cell.

# %%
import copy
from functools import partial

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from zobench_plugins.estimators.mezo import MeZO

from zobench import LogWriter, Scope, read_log

# %% [markdown]
# ## A model and batches of your own
#
# A small LLaMA with random weights, and text as bytes. Evaluation mode: dropout would make two looks incomparable.

# %%
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=128, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, use_cache=False
)
model = LlamaForCausalLM(config).eval()
untouched = copy.deepcopy(model)
text = torch.tensor(list(b"perturb the weights, look, move; " * 40))


def batch(step: int) -> torch.Tensor:
    """Eight rows of 32 bytes, shape (8, 32); the same for the same step."""
    starts = torch.randint(len(text) - 32, (8,), generator=torch.Generator().manual_seed(step))
    return torch.stack([text[start : start + 32] for start in starts])


def loss_of(ids: torch.Tensor) -> torch.Tensor:
    """The mean loss of a batch, 0-dim."""
    return model(ids, labels=ids).loss


# %% [markdown]
# ## What may move
#
# A `Scope` names it: here the last decoder block and the head. Weights outside of it stay, bit for bit.


# %%
def optimizer_of(module: torch.nn.Module) -> MeZO:
    """MeZO on the last block and the head, its noise from one seed."""
    moving = ("model.layers.1.", "lm_head.")
    return MeZO(Scope((n, p) for n, p in module.named_parameters() if n.startswith(moving)), lr=2e-3, seed=1)


# %% [markdown]
# ## The loop
#
# The closure returns the loss of the step's batch, and is called as often as the method looks (twice a step here).
# Schedulers of torch work on it. The log has a seed and two losses a step: 200 steps are a few kilobytes.

# %%
optimizer = optimizer_of(model)
scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.1, total_iters=200)
held_out = batch(-1)
with torch.no_grad():
    before = float(loss_of(held_out))
for step in range(200):
    optimizer.step(partial(loss_of, batch(step)))
    scheduler.step()
with LogWriter("steps.bin") as log:
    log.write(optimizer.log)
with torch.no_grad():
    after = float(loss_of(held_out))
print(f"loss on a batch that it did not train on: {before:.3f} -> {after:.3f}")
assert after < before

# %% [markdown]
# ## The weights again, from the log alone
#
# From the untouched weights, without a forward pass and without data: the same weights, bit for bit.

# %%
optimizer_of(untouched).replay(read_log("steps.bin"))
assert all(torch.equal(a, b) for a, b in zip(model.parameters(), untouched.parameters(), strict=True))
print("replayed: the same weights, bit for bit")
