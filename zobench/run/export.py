"""A finished cell's chosen weights as a folder that transformers or peft loads, with a card made from its record."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from ..errors import ZobenchError, library
from ..parameterisations.lora import ADAPTER
from ..parameterisations.scales import QuantisedLinear
from .export_card import card
from .method import Method, applied, keeper, scope_bytes
from .replay import method_of, rebuild, scope_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..models.load import LoadedModel
    from ..plugins.registry import Plugins
    from ..report.record import Record

WHOLE = frozenset({"full", "scales"})
"""Parameterisations whose trained weights are the model's own, or stand for them."""


def export(record: Record, results: Path, loaded: LoadedModel, plugins: Plugins, out: Path) -> list[str]:
    """Write `out`, a new folder: for `AutoModelForCausalLM.from_pretrained`, or, of a cell that trained adapters, for
    `PeftModel.from_pretrained` on the base model. Returns the names of its files.

    The model is left as it was. Raises ZobenchError where `rebuild` does, where `out` is there and not empty, and for a
    parameterisation that neither library has a format for.
    """
    kind = record["engine"]["parameterisation"] if "engine" in record else "full"
    if kind not in (*WHOLE, "lora"):
        raise ZobenchError(f"{record['id']} trained a {kind}: {_WHY.get(kind, 'no library loads that')}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ZobenchError(f"--out {out}: it exists and is not an empty folder; name another")
    weights = rebuild(record, results, loaded, plugins)
    tensors, modules = _trained(record, loaded, plugins, weights, kind)
    with _new_folder(out) as draft:
        if kind == "lora":
            _save_lora(method_of(record, plugins), loaded, tensors, modules, draft)
        else:
            with _standing(loaded.model, tensors):
                loaded.model.save_pretrained(draft)
            loaded.tokenizer.save_pretrained(draft)
        (draft / "README.md").write_text(card(record, peft=kind == "lora"), encoding="utf-8")
        return sorted(path.name for path in draft.iterdir())


_WHY = {
    "prefix": "peft counts the places of a text after its prefix, this one is trained with the text at its own; "
    "`zobench replay` writes its keys and values"
}


def _trained(
    record: Record, loaded: LoadedModel, plugins: Plugins, weights: Mapping[str, Tensor], kind: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors to save, by the model's own names (adapters: by theirs), and the modules that have adapters."""
    scope, method = scope_of(record, loaded), method_of(record, plugins)
    keep = keeper(loaded, scope_bytes(scope))
    with applied(method, loaded, scope, lr=record["chosen"]["lr"], seed=record["cell"]["seed"], keep=keep) as on:
        on.put(weights)
        if kind == "scales":
            return _dequantised(loaded.model), ()
        own = {handle.name: handle.param.detach().clone() for handle in on.estimator.handles}
    modules = tuple(dict.fromkeys(name.partition(".lora_")[0] for name in own)) if kind == "lora" else ()
    return own, modules


def _dequantised(model: nn.Module) -> dict[str, Tensor]:
    """The weights that codes and scales stand for, as the forward pass makes them."""
    return {f"{n}.weight": m.weights().detach() for n, m in model.named_modules() if isinstance(m, QuantisedLinear)}


@contextmanager
def _standing(model: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """The model with these values in its parameters, and after it with its own."""
    own = dict(model.named_parameters())
    before = {name: own[name].detach().clone() for name in tensors}
    try:
        with torch.no_grad():
            for name, value in tensors.items():
                own[name].copy_(value)
        yield
    finally:
        with torch.no_grad():
            for name, value in before.items():
                own[name].copy_(value)


def _save_lora(
    method: Method, loaded: LoadedModel, tensors: Mapping[str, Tensor], modules: tuple[str, ...], out: Path
) -> None:
    from ..parameterisations.lora import LoRA
    from ..settings import resolve, settings_of

    peft = library("peft", "export of a LoRA")
    said = method.settings if method.parameterisation == method.cls.parameterisation else {}  # as it was attached
    own = settings_of(LoRA)
    settings = resolve(LoRA, {k: v for k, v in said.items() if k in own}, owner="lora")
    conv = any(type(loaded.model.get_submodule(name)).__name__ == "Conv1D" for name in modules)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=loaded.name,
        r=settings["r"],
        lora_alpha=settings["alpha"],
        target_modules=list(modules),
        lora_dropout=0.0,
        bias="none",
        fan_in_fan_out=conv,
        inference_mode=True,
    )
    config.save_pretrained(out)
    named = {f"base_model.model.{n.replace(f'.{ADAPTER}', '')}": t.contiguous().cpu() for n, t in tensors.items()}
    save_file(named, out / "adapter_model.safetensors", metadata={"format": "pt"})


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that gets its name when the body ends well; nothing is left where it does not."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as e:
        raise ZobenchError(f"--out {out}: cannot be written: {e.strerror}") from e
    try:
        yield draft
        if out.exists():
            out.rmdir()
        draft.chmod(0o755)
        os.replace(draft, out)
    except OSError as e:
        raise ZobenchError(f"--out {out}: cannot be written: {e.strerror or e}") from e
    finally:
        shutil.rmtree(draft, ignore_errors=True)
