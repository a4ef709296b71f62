"""The built-in estimators: one method a file, imported on first use."""

from __future__ import annotations

from collections.abc import Mapping

from zobench import hookimpl

HERE = __name__


@hookimpl
def zobench_estimators() -> Mapping[str, str]:
    """Names and homes; importing this module imports no torch."""
    return {
        "adamw": f"{HERE}.adamw:AdamW",
        "fzoo": f"{HERE}.fzoo:FZOO",
        "hizoo": f"{HERE}.hizoo:HiZOO",
        "lora_zo": f"{HERE}.lora_zo:LoRAZO",
        "lozo": f"{HERE}.lozo:LOZO",
        "mezo": f"{HERE}.mezo:MeZO",
        "sparse_mezo": f"{HERE}.sparse_mezo:SparseMeZO",
        "zero_shot": f"{HERE}.zero_shot:ZeroShot",
        "zo_adam": f"{HERE}.zo_adam:ZOAdam",
    }
