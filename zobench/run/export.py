"""A finished cell's chosen weights as a folder that transformers or peft loads, with a card made from its record."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from ..errors import ZobenchError, library
from ..parameterisations.lora import ADAPTER, adapted, tuned
from ..parameterisations.scales import QuantisedLinear
from .export_card import card
from .export_prefix import save_prefix, text_for
from .export_prompt import save_prompt
from .method import Method, applied, keeper, scope_bytes
from .replay import masks_of, method_of, rebuild, scope_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..models.load import LoadedModel
    from ..plugins.registry import Plugins
    from ..report.record import Record


def export(record: Record, results: Path, loaded: LoadedModel, plugins: Plugins, out: Path) -> list[str]:
    """Write `out`, a new folder: for `AutoModelForCausalLM.from_pretrained`, or, of a cell that trained adapters, for
    `PeftModel.from_pretrained` on the base model. Returns the names of its files.

    Adapters whose product was masked have no format of their own: their model is saved whole, the product added. The
    model is left as it was. Raises ZobenchError where `rebuild` does, where `out` is there and not empty, and for what
    neither library has a format for.
    """
    kind = record["engine"]["parameterisation"] if "engine" in record else "full"
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ZobenchError(f"--out {out}: it exists and is not an empty folder; name another")
    weights, masks = rebuild(record, results, loaded, plugins), masks_of(record, results)
    found = _trained(record, loaded, plugins, weights, masks)
    try:
        with _new_folder(out) as draft:
            if found.kind == "lora":
                _save_lora(method_of(record, plugins), loaded, found.tensors, draft)
            elif found.answers is not None:
                save = save_prefix if found.kind == "prefix" else save_prompt
                save(loaded, found.tensors, found.answers, draft)
            else:
                with _standing(loaded.model, found.tensors):
                    loaded.model.save_pretrained(draft)
                loaded.tokenizer.save_pretrained(draft)
            (draft / "README.md").write_text(card(record, found.kind), encoding="utf-8")
            return sorted(path.name for path in draft.iterdir())
    except ZobenchError as e:
        raise ZobenchError(str(e) if found.answers is None else f"{record['id']} trained a {kind}: {e}") from e


@dataclass(frozen=True)
class _Found:
    """What a cell trained, in the form that it is saved in."""

    kind: str
    """full | lora | prefix | prompt: the model's own tensors, or those of adapters."""
    tensors: dict[str, Tensor]
    """By the model's own names; of adapters by theirs."""
    answers: Tensor | None = None
    """Of a prefix or a prompt: the logits of `text_for`."""


@torch.no_grad()
def _trained(
    record: Record,
    loaded: LoadedModel,
    plugins: Plugins,
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
) -> _Found:
    """The model with the chosen weights in it, as what is saved of it."""
    scope, method = scope_of(record, loaded, masks), method_of(record, plugins)
    kind, keep = method.parameterisation, keeper(loaded, scope_bytes(scope))
    with applied(method, loaded, scope, lr=record["chosen"]["lr"], seed=record["cell"]["seed"], keep=keep) as on:
        on.put(weights)
        if kind == "scales":
            return _Found("full", _dequantised(loaded.model))
        own = {handle.name: handle.param.detach().clone() for handle in on.estimator.handles}
        if kind in ("prefix", "prompt"):
            return _Found(kind, own, loaded.model(input_ids=text_for(loaded), use_cache=False).logits)
        if masks:
            return _Found("full", {f"{n}.weight": tuned(loaded.model.get_submodule(n)) for n in adapted(own)})
    return _Found("lora" if kind == "lora" else "full", own)


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


def _save_lora(method: Method, loaded: LoadedModel, tensors: Mapping[str, Tensor], out: Path) -> None:
    from ..parameterisations.lora import LoRA
    from ..settings import resolve, settings_of

    peft = library("peft", "export of a LoRA")
    said = method.settings if method.parameterisation == method.cls.parameterisation else {}  # as it was attached
    own = settings_of(LoRA)
    settings = resolve(LoRA, {k: v for k, v in said.items() if k in own}, owner="lora")
    modules = adapted(tensors)
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
