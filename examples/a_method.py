# %% [markdown]
# # A method, from its algorithm box to a board
#
# Each `# %%` begins a cell: open this file as a notebook (VS Code, PyCharm or Spyder do as it is), or run it whole
# with `python examples/a_method.py`. It is a plugin too (`zobench run --plugin examples/a_method.py ...`): then the
# cells under `if __name__ == "__main__"` are not run.

# %%
from typing import ClassVar

import torch
from torch import Tensor

from zobench import Estimator, Losses, Positive, hookimpl
from zobench.cli import main
from zobench.testing import check_estimator

# %% [markdown]
# ## The method
#
# MeZO's step with a slope that is clipped: one steep batch cannot throw the weights far. `theta` stands for all
# weights that may move; a direction `z` is an expression over them, and is computed where it is needed, tensor by
# tensor.


# %%
class Clipped(Estimator):
    """MeZO's step with the slope clipped to [-clip, clip].

    An example, of no paper. Forwards a step: 2. State: none.
    """

    forwards_per_step: ClassVar[int | None] = 2

    eps: Positive = 1e-3  # a setting: --set clipped.eps=1e-2
    clip: Positive = 10.0

    def iterate(self, losses: Losses) -> Tensor:
        z = self.noise()
        plus, minus = losses(self.eps * z, -self.eps * z)  # at theta + eps z, theta - eps z
        slope = (plus - minus) / (2 * self.eps)
        self.descend(slope.clamp(-self.clip, self.clip) * z)  # theta <- theta - lr * (that + weight_decay * theta)
        return plus


@hookimpl
def zobench_estimators():
    return {"clipped": Clipped}


# %% [markdown]
# ## Does it do what it says?
#
# In your own loop it is a `torch.optim.Optimizer`. Here the loss falls.

# %%
if __name__ == "__main__":
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 1)
    x, y = torch.randn(64, 8), torch.randn(64, 1)
    optimizer = Clipped(model.named_parameters(), lr=1e-2, clip=1.0)
    seen = [float(optimizer.step(lambda: torch.nn.functional.mse_loss(model(x), y))) for _ in range(200)]
    print(f"loss {seen[0]:.3f} -> {seen[-1]:.3f}")
    assert seen[-1] < seen[0]

# %% [markdown]
# The battery asks what every method must hold: weights restored, replay and resume bit for bit, masks, counts, and
# the same result on every engine. A fault is an AssertionError that says what is wrong. Leave `engines` and
# `problems` out to ask all of it.

# %%
if __name__ == "__main__":
    print(check_estimator(Clipped, engines=["flat"], problems=["mlp"]))

# %% [markdown]
# ## On a board
#
# `main` is the command `zobench`. It takes this file as a plugin: on the model and a task of the package, beside
# MeZO. `--preset smoke` takes seconds and says nothing of a method; leave it out, and name more tasks and seeds,
# for a board that does.

# %%
if __name__ == "__main__":
    run = f"run --plugin {__file__} --estimator clipped,mezo --selector all --tasks sst2 --preset smoke --results runs"
    assert main(run.split()) == 0
