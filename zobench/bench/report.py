"""What a bench run found, as JSON and as tables. Times in JSON are seconds, in tables milliseconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tabulate import tabulate

from ..report.cost_model import Fit, fit
from .ceilings import Ceilings
from .measure import PHASES, Timed
from .sides import OFFICIAL_FULL, OFFICIAL_LAYER, OFFICIAL_LAYER_OURS, Side
from .work import Work

SCHEMA = 1


@dataclass(frozen=True)
class Facts:
    """Of the model: what throughput is computed from."""

    name: str
    dtype: str
    itemsize: int
    parameters: int
    block_parameters: int
    """Of all decoder blocks: what every token of a forward passes through."""
    blocks: int
    layer: int
    """0-based: the block that the scope `layer` is."""


@dataclass(frozen=True)
class TaskMeasurement:
    """One task's measurement."""

    work: Work
    timed: Sequence[Timed]

    def seconds(self, side: Side) -> float | None:
        """The median of a step of this side; None where it was not timed."""
        return next((one.median("step_s") for one in self.timed if one.side == side), None)

    def ratio(self, one: Timed, baseline: Side) -> float | None:
        """How many times as long a step of the baseline takes."""
        seconds = self.seconds(baseline)
        return None if seconds is None else seconds / one.median("step_s")

    def weight_gbs(self, one: Timed, facts: Facts) -> float | None:
        """Gigabytes a second of weights read and written by the passes over the scope."""
        spent = one.median("perturb_s") + one.median("update_s")
        return 2 * facts.itemsize * one.numel * one.sweeps / spent / 1e9 if spent else None

    def block_tflops(self, one: Timed, facts: Facts) -> float:
        """Products and sums of the weights of the decoder blocks that forwards pass through with all tokens of a step's
        forwards, padding included; without attention scores and the head.
        """
        tokens = self.work.engine_tokens if one.side.ours else self.work.padded_tokens  # without those of few shapes
        weights = facts.block_parameters * (1 - one.first_block / facts.blocks)
        return 2 * one.forwards * weights * tokens / one.median("forward_s") / 1e12


def ratios(found: Sequence[TaskMeasurement], engine: str) -> dict[str, float]:
    """The ratios of the engine's steps, geometric means over tasks; those that were not measured are left out."""
    pairs = {
        "layer_engine_vs_official_full": (Side(engine, "layer", True), OFFICIAL_FULL),
        "layer_engine_vs_official_layer": (Side(engine, "layer", True), OFFICIAL_LAYER),
        "layer_engine_vs_official_layer_our_forward": (Side(engine, "layer", True), OFFICIAL_LAYER_OURS),
        "full_engine_vs_official_full": (Side(engine, "full", True), OFFICIAL_FULL),
        "official_layer_vs_official_full": (OFFICIAL_LAYER, OFFICIAL_FULL),
    }
    for scope in dict.fromkeys(one.side.scope for f in found for one in f.timed if one.side.graphs):
        pairs[f"{scope}_graphs_vs_none"] = Side(engine, scope, True, True), Side(engine, scope, True)
    for row in dict.fromkeys(one.side.scope for f in found for one in f.timed if "/" in one.side.scope):
        mine = Side(engine, row, True)
        pairs[f"{row}: engine vs official full"] = mine, OFFICIAL_FULL
        pairs[f"{row}: engine vs official"] = mine, Side("official", row, False)
    out = {}
    for name, (side, baseline) in pairs.items():
        times = [(f.seconds(side), f.seconds(baseline)) for f in found]
        if all(a is not None and b is not None for a, b in times):
            out[name] = math.exp(sum(math.log(b / a) for a, b in times if a and b) / len(times))
    return out


def cost_model(found: Sequence[TaskMeasurement], facts: Facts) -> Fit | None:
    """The paper's model on steps in the official order; None where only one scope was timed."""
    seconds = {
        f.work.task: {one.numel: one.median("step_s") for one in f.timed if one.side in (OFFICIAL_FULL, OFFICIAL_LAYER)}
        for f in found
    }
    return fit(seconds) if all(len(of) == 2 for of in seconds.values()) else None


def as_json(
    found: Sequence[TaskMeasurement],
    facts: Facts,
    machine: Ceilings,
    engine: str,
    settings: Mapping[str, Any],
    where: Any,
) -> dict[str, Any]:
    """All of it, for programs."""
    model = cost_model(found, facts)
    return {
        "schema": SCHEMA,
        "model": asdict(facts),
        "settings": dict(settings),
        "environment": where,
        "ceilings": asdict(machine),
        "ratios": ratios(found, engine),
        "cost_model": None if model is None else {"gamma_s": model.gamma, "forward_s": dict(model.forward_s)},
        "tasks": {f.work.task: _task(f, facts, engine) for f in found},
    }


def _task(found: TaskMeasurement, facts: Facts, engine: str) -> dict[str, Any]:
    return {
        "loss": found.work.loss_name,
        "rows": found.work.rows,
        "padded_tokens": found.work.padded_tokens,
        "engine_tokens": found.work.engine_tokens,
        "unique_tokens": found.work.unique_tokens,
        "ratios": ratios([found], engine),
        "sides": [
            {
                "name": one.side.name,
                **asdict(one.side),
                "engine_used": one.engine,
                "steps": len(one.phases),
                "parameters": one.numel,
                "sweeps": one.sweeps,
                "forwards": one.forwards,
                "peak_bytes": one.peak_bytes,
                "held_bytes": one.held_bytes,
                "first_block": one.first_block,
                "cache_bytes": 0 if one.cache is None else one.cache.nbytes(),
                "cache_fill_s": one.fill_s,
                "cuda_graphs": 0 if one.graphs is None else one.graphs.captured,
                "capture_s": one.capture_s,
                "weight_gbs": found.weight_gbs(one, facts),
                "block_tflops": found.block_tflops(one, facts),
                **{p: {"median": one.median(p), "iqr": one.iqr(p)} for p in PHASES},
            }
            for one in found.timed
        ],
    }


def markdown(found: Sequence[TaskMeasurement], facts: Facts, machine: Ceilings, engine: str) -> str:
    """A table a task in the layout of the paper's Tables 4 and 13, the ratios, and the cost model beside them."""
    parts = [
        f"{facts.name}, {facts.dtype}, {facts.parameters / 1e6:,.1f} M parameters, layer {facts.layer} (0-based). "
        f"Measured ceilings: copy {machine.copy_gbs:.1f} GB/s, matrix product {machine.gemm_tflops:.3g} TFLOP/s."
    ]
    parts += [_table(f, facts, machine) for f in found]
    cached = [one for f in found for one in f.timed if one.cache is not None]
    if cached:
        filled, size = sum(one.fill_s for one in cached), max(one.cache.nbytes() for one in cached if one.cache)
        parts.append(
            f"Forwards over one layer on the engines begin at block {cached[0].first_block}: what enters it is taken "
            f"from a prefix cache (at most {size / 2**20:.1f} MiB), filled once before the timed steps ({filled:.2f} s "
            "in all)."
        )
    parts.append(
        tabulate(
            [
                (name if "/" in name else name.replace("_", " "), f"{ratio:.2f}x")
                for name, ratio in ratios(found, engine).items()
            ],
            headers=("ratio of step times" + (", geometric mean over tasks" if len(found) > 1 else ""), ""),
            tablefmt="github",
        )
    )
    model = cost_model(found, facts)
    if model is not None:
        parts.append(_model(found, model))
    return "\n\n".join(parts)


def _table(found: TaskMeasurement, facts: Facts, machine: Ceilings) -> str:
    work = found.work
    rows = []
    for one in found.timed:
        gbs, tflops = found.weight_gbs(one, facts), found.block_tflops(one, facts)
        same = Side("official", one.side.scope, False)
        rows.append(
            (
                one.side.name + (f" ({one.engine})" if one.engine != one.side.engine else ""),
                *(f"{1e3 * one.median(p):.2f}" for p in PHASES),
                f"{1e3 * one.iqr('step_s'):.2f}",
                _times(found.ratio(one, OFFICIAL_FULL)),
                _times(found.ratio(one, same)),
                "-" if gbs is None else f"{gbs:.1f} ({gbs / machine.copy_gbs:.0%})",
                f"{tflops:.3g} ({tflops / machine.gemm_tflops:.0%})",
                f"{one.peak_bytes / 2**30:.2f}",
            )
        )
    headers = ("step", "forward ms", "perturb ms", "update ms", "total ms", "IQR", "x official full",
               "x official same scope", "weights GB/s", "blocks TFLOP/s", "peak GiB")  # fmt: skip
    each = zip(("padded", "ours", "unique"), (work.padded_tokens, work.engine_tokens, work.unique_tokens), strict=True)
    counted = "tokens a forward: " + ", ".join(f"{tokens:,.0f} {what}" for what, tokens in each)
    return f"**{work.task}** ({work.loss_name} loss, {work.rows} rows; {counted})\n\n" + tabulate(
        rows, headers=headers, tablefmt="github"
    )


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}x"


def _model(found: Sequence[TaskMeasurement], model: Fit) -> str:
    rows = []
    for f in found:
        sizes = {one.side: one.numel for one in f.timed}
        full, layer = sizes[OFFICIAL_FULL], sizes[OFFICIAL_LAYER]
        seconds = [
            one.median("step_s") for side in (OFFICIAL_FULL, OFFICIAL_LAYER) for one in f.timed if one.side == side
        ]
        rows.append(
            (
                f.work.task,
                f"{1e3 * model.forward_s[f.work.task]:.2f}",
                *(
                    f"{1e3 * model.step(f.work.task, n):.2f} / {1e3 * s:.2f}"
                    for n, s in zip((full, layer), seconds, strict=True)
                ),
                f"{model.ratio(f.work.task, full, layer):.2f}x / {seconds[0] / seconds[1]:.2f}x",
            )
        )
    headers = ("task", "F, ms", "full: model / measured, ms", "layer: model / measured, ms", "full over layer")
    return (
        f"Cost model of the paper (eq. 3 to 11), T(S) = 2 F + gamma |S|, on the official order: gamma = "
        f"{1e12 * model.gamma:.1f} ps a parameter.\n\n" + tabulate(rows, headers=headers, tablefmt="github")
    )
