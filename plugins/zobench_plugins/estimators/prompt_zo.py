"""MeZO on a prompt, Zhang et al. 2024."""

from __future__ import annotations

from typing import ClassVar, Literal

from zobench import Count, Positive

from .mezo import MeZO


class PromptZO(MeZO):
    """MeZO's step on embeddings of virtual tokens before the text; the weights stay.

    Paper: Revisiting Zeroth-Order Optimization for Memory-Efficient LLM Fine-Tuning: A Benchmark (arXiv:2402.11592),
    ZO-SGD with prompt tuning (Lester et al. 2021, arXiv:2104.08691), one of its four schemes of tuning. What a prompt
    is and what it starts from: zobench.parameterisations.prompt.PromptTuning. It stands in the place of the input
    embeddings, so the scope must have them: take `all`.

    Defaults: 10 virtual tokens, started from random tokens' embeddings; eps 1e-2, the largest of their grid, and
    learning rates from their grid, 1e-3 to 1e-8 (released sweeps). `--set directions=subzero` does not take it, since
    SubZero's authors make the narrow prompt nearly square first. Forwards a step: 2; the prompt's tokens
    pass in each. State: the prompt, in float32.

    The released code puts the prompt before the padding on the left, counts that padding as places, and knows OPT,
    RoBERTa, LLaMA and Mistral.
    """

    reference: ClassVar[str] = (
        "Zhang et al. 2024, arXiv:2402.11592, with prompts (Lester et al. 2021, arXiv:2104.08691)"
    )
    public_code: ClassVar[str] = (
        "ZO-Bench/ZO-LLM (GPL-3.0): the prompt stands before the padding on the left, whose places are counted"
    )
    verified: ClassVar[bool | None] = True
    state_per_parameter: ClassVar[float] = 0.0
    parameterisation: ClassVar[str] = "prompt"
    lr_grid: ClassVar[tuple[float, ...]] = (1e-6, 1e-5, 1e-4, 1e-3)
    small_lrs: ClassVar[tuple[float, ...]] = (1e-2, 1e-1)

    eps: Positive = 1e-2
    """How far to look: the looks are at theta +- eps times the direction."""
    num_virtual_tokens: Count = 10
    """Tokens of the prompt."""
    init: Literal["tokens", "normal"] = "tokens"
    """What a prompt starts from: the embeddings of random tokens, or N(0, 1)."""
