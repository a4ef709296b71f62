"""MeZO on LoRA adapters, Malladi et al. 2023."""

from __future__ import annotations

from typing import ClassVar

from zobench import Count, Positive

from .mezo import MeZO


class LoRAZO(MeZO):
    """MeZO's step on low-rank adapters of the scope's query and value projections; the weights stay.

    Paper: arXiv:2305.17333, section 3 and appendix (parameter-efficient fine-tuning); adapters: Hu et al. 2021
    (arXiv:2106.09685), section 4.1. Which modules, and what A and B start from: zobench.parameterisations.lora.LoRA.

    Defaults: r 8, alpha 16, q_proj and v_proj (released code); eps 1e-3. The released README uses eps 1e-2 with
    learning rates 1e-4 and 5e-5; at 1e-2 the product of the two perturbed factors is as large as their linear part,
    so eps belongs beside every LoRA result. Forwards a step: 2. State: the adapters.

    The released code knows OPT and RoBERTa only and assumes square projections; here grouped-query attention is right.
    """

    reference: ClassVar[str] = "Malladi et al. 2023, arXiv:2305.17333, with LoRA (Hu et al. 2021, arXiv:2106.09685)"
    public_code: ClassVar[str] = "princeton-nlp/MeZO (MIT): OPT and RoBERTa only, square projections only"
    verified: ClassVar[bool | None] = True
    state_per_parameter: ClassVar[float] = 0.0
    parameterisation: ClassVar[str] = "lora"
    lr_grid: ClassVar[tuple[float, ...]] = (5e-6, 1e-5, 2e-5, 5e-5)
    small_lrs: ClassVar[tuple[float, ...]] = (1e-3, 1e-2)

    r: Count = 8
    """Rank of the adapters."""
    alpha: Positive = 16.0
    """The adapters' product is scaled by alpha / r."""
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    """Names of the linear modules that get an adapter, in the layers of the scope."""
