"""MeZO on a prefix, Malladi et al. 2023."""

from __future__ import annotations

from typing import ClassVar

from zobench import Count, Positive

from .mezo import MeZO


class PrefixZO(MeZO):
    """MeZO's step on keys and values before those of the text, in the scope's attention modules; the weights stay.

    Paper: arXiv:2305.17333, section 3 and appendix (parameter-efficient fine-tuning), after Li and Liang 2021
    (arXiv:2101.00190). What a prefix is and what it starts from: zobench.parameterisations.prefix.PrefixTuning.

    Defaults: 5 tokens, no reparameterisation, started from the keys and values of random tokens (released code);
    eps 1e-1 and learning rates 1e-2 and 1e-3 (released README, OPT-13B). Forwards a step: 2. State: the prefix.

    The released code puts the prefix into the tuples of keys and values that transformers kept before version 4.36,
    for OPT and LLaMA with as many key-value heads as heads; here grouped-query attention is right. Its tokens are
    drawn from torch's stream on the GPU, so that a prefix starts from other tokens there.
    """

    reference: ClassVar[str] = (
        "Malladi et al. 2023, arXiv:2305.17333, with prefixes (Li and Liang 2021, arXiv:2101.00190)"
    )
    public_code: ClassVar[str] = (
        "princeton-nlp/MeZO (MIT): OPT and LLaMA of transformers 4.28, no grouped-query attention"
    )
    verified: ClassVar[bool | None] = True
    state_per_parameter: ClassVar[float] = 0.0
    parameterisation: ClassVar[str] = "prefix"
    lr_grid: ClassVar[tuple[float, ...]] = (1e-3, 1e-2)
    small_lrs: ClassVar[tuple[float, ...]] = (0.3, 1.0)

    eps: Positive = 1e-1
    """How far to look: the looks are at theta +- eps times the direction."""
    num_prefix: Count = 5
    """Keys and values of a prefix, for every key-value head of the scope's layers."""
