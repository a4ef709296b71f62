"""ZO Fine-tuner, Zhang et al. 2025."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from zobench import Buffer, Estimator, Handle, Losses, Natural, Planned, Positive

from ..learned import networks

ONES, UNTRAINED = "ones", "untrained"


class ZOFineTuner(Estimator):
    """MeZO with a scale for each tensor's direction, which a small network, learnt once a model, gives at every step.

    Paper: Learning a Zeroth-Order Optimizer for Fine-Tuning LLMs (arXiv:2510.00419): for each tensor p
    s_p = |PertNN_p(mean theta_p, var theta_p, L+, L-, s_p)|, a perceptron 5-64-1 with tanh, of the two losses and the
    scale of the step before (at first 0, 0 and 1);  kappa = sqrt(sum n_p / sum n_p s_p^2), n_p the entries that may
    move: the direction is as long as MeZO's;  d_p = kappa s_p z_p;
    c = [L(theta + eps d) - L(theta - eps d)] / (2 eps);  theta <- theta - lr c d.
    The networks are learnt, with backward passes, by zobench_plugins.learned.scales or

        python -m zobench_plugins.learned scales --model MODEL --text FILE --out scales.safetensors

    and training makes none. s is the standard deviation of d, as in the released code; the paper's formula, as known
    from a public summary, has it as an entry of the covariance.

    Defaults: eps 1e-3, lr 1e-7 (released README) and 1e-6 (its script), in MeZO's grid, whose steps these are. Forwards
    a step: 2. State: a number a tensor, and the two losses; the networks, 449 numbers a tensor, stay as they are.

    scales="untrained" takes networks as they are before learning, by `seed_of_networks`; scales="ones" is MeZO.
    Public code: it counts an embedding as 15 x batch size rows in kappa (`embedding_rows`). It moves all parameters
    of the model though it looked along the trainable ones alone, so that with a scope or adapters its noise is another
    in the move. A tensor without a network is an error there too.
    """

    reference: ClassVar[str] = "Zhang et al. 2025, arXiv:2510.00419"
    public_code: ClassVar[str] = (
        "ASTRAL-Group/ZO_Fine_tuner (no licence seen): moves all parameters though it looked along the trainable ones"
    )
    verified: ClassVar[bool | None] = True
    state_per_parameter: ClassVar[float] = 0.0
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 5e-7, 1e-6, 5e-6)
    forwards_per_step: ClassVar[int | None] = 2
    neutral: ClassVar[Mapping[str, object] | None] = {"scales": ONES}
    needs: ClassVar[Mapping[str, object]] = {"scales": UNTRAINED}

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""
    scales: str = ""
    """The file of networks; or `untrained`, or `ones`."""
    sha256: str = ""
    """How the SHA-256 of the file begins; where given, any other file is refused, and the record says which it was."""
    seed_of_networks: Natural = 0
    """What untrained networks start from."""
    embedding_rows: Natural = 0
    """Rows that an embedding counts as in kappa; 0: all it has."""

    @classmethod
    def check(cls, settings: Mapping[str, Any], planned: Planned) -> None:
        """ZobenchError where there is no file of networks, or another one."""
        super().check(settings, planned)
        if settings["scales"] not in (ONES, UNTRAINED):
            networks.file_of_networks("zo_fine_tuner", settings["scales"], settings["sha256"])

    def setup(self) -> None:
        self.first = self.handles[0]  # the losses are kept beside it, whether it moves or not
        self.before = self.buffer("before", init=1.0, shape=lambda p: ())
        self.seen = self.buffer("seen", shape=lambda p: (2,), on=lambda p: p is self.first)
        self.networks: dict[str, networks.Network] = {}
        if self.scales != ONES:
            names = [p.name for p in self.handles]
            found = (
                {name: networks.fresh(name, self.seed_of_networks) for name in names}
                if self.scales == UNTRAINED
                else networks.networks_for("zo_fine_tuner", self.scales, self.sha256, names)
            )
            self.networks = {p.name: networks.moved(found[p.name], p.param, p.dtype) for p in self.handles}

    def features(self, p: Handle) -> Tensor:
        """What a network is told of its tensor: (5,)."""
        return networks.features(p.data.to(p.dtype), self.seen[self.first], self.before[p])

    def scale(self, p: Handle) -> Tensor:
        """The s of one tensor (0-dim)."""
        if self.scales == ONES:
            return torch.ones((), dtype=p.dtype, device=p.param.device)
        return networks.scale_of(self.networks[p.name], self.features(p))

    def entries(self, p: Handle) -> Tensor | float:
        """The n of one tensor."""
        if self.embedding_rows and "embed" in p.name and p.ndim == 2:
            return float(self.embedding_rows * p.shape[1])
        return float(p.shape.numel()) if p.mask is None else p.mask.sum()

    def kappa(self, s: Buffer) -> Tensor:
        """What makes the direction as long as MeZO's (0-dim)."""
        return networks.to_norm_of_mezo([s[p] for p in self.active], map(self.entries, self.active))

    def iterate(self, losses: Losses) -> Tensor:
        s = self.compute(self.scale, name="s")
        d = self.kappa(s) * (s * self.noise())
        lp, lm = losses(+self.eps * d, -self.eps * d)
        c = (lp - lm) / (2 * self.eps)
        self.descend(c * d)
        self.remember(s, lp, lm)
        return lp

    def remember(self, s: Buffer, lp: Tensor, lm: Tensor) -> None:
        """The networks of the next step see this one's scales and losses."""
        self.before.assign(s)
        self.seen[self.first] = torch.stack((lp, lm)).to(self.seen[self.first])
