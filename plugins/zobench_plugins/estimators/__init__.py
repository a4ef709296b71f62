"""The built-in estimators: one method a file, imported on first use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zobench import hookimpl

from ..directions import FAMILIES

HERE = __name__


@hookimpl
def zobench_directions() -> Mapping[str, str]:
    """What estimators may look along, names and homes."""
    return FAMILIES


@hookimpl
def zobench_estimators() -> Mapping[str, str]:
    """Names and homes; importing this module imports no torch."""
    return {
        "adalezo": f"{HERE}.adalezo:AdaLeZO",
        "adamezo": f"{HERE}.adamezo:AdaMeZO",
        "adamw": f"{HERE}.adamw:AdamW",
        "agzo": f"{HERE}.agzo:AGZO",
        "bszo": f"{HERE}.bszo:BSZO",
        "conmezo": f"{HERE}.conmezo:ConMeZO",
        "curvzo": f"{HERE}.curvzo:CurvZO",
        "dizo": f"{HERE}.dizo:DiZO",
        "es": f"{HERE}.es:ES",
        "forward_grad": f"{HERE}.forward_grad:ForwardGrad",
        "fzoo": f"{HERE}.fzoo:FZOO",
        "grzo": f"{HERE}.grzo:GRZO",
        "helene": f"{HERE}.helene:HELENE",
        "hidden_probe": f"{HERE}.hidden_probe:HiddenProbe",
        "hizoo": f"{HERE}.hizoo:HiZOO",
        "hizoo_l": f"{HERE}.hizoo_l:HiZOOL",
        "icl": f"{HERE}.icl:ICL",
        "lora_zo": f"{HERE}.lora_zo:LoRAZO",
        "loren": f"{HERE}.loren:LOREN",
        "lozo": f"{HERE}.lozo:LOZO",
        "lozo_m": f"{HERE}.lozo_m:LOZOM",
        "meazo": f"{HERE}.meazo:MEAZO",
        "mezo": f"{HERE}.mezo:MeZO",
        "mezo_bcd": f"{HERE}.mezo_bcd:MeZOBCD",
        "mezo_gv": f"{HERE}.mezo_gv:MeZOGV",
        "mezo_muon": f"{HERE}.mezo_muon:MeZOMuon",
        "mezo_normalized": f"{HERE}.mezo_normalized:MeZONormalized",
        "mezo_svrg": f"{HERE}.mezo_svrg:MeZOSVRG",
        "n_spsa": f"{HERE}.n_spsa:NSPSA",
        "p_gap": f"{HERE}.p_gap:PGAP",
        "prefix_zo": f"{HERE}.prefix_zo:PrefixZO",
        "prompt_zo": f"{HERE}.prompt_zo:PromptZO",
        "quzo": f"{HERE}.quzo:QuZO",
        "pseuzo": f"{HERE}.pseuzo:PseuZO",
        "qzo": f"{HERE}.qzo:QZO",
        "r_adazo": f"{HERE}.r_adazo:RAdaZO",
        "sensitive_sparse": f"{HERE}.sensitive_sparse:SensitiveSparse",
        "sgd": f"{HERE}.sgd:SGD",
        "sparse_mezo": f"{HERE}.sparse_mezo:SparseMeZO",
        "subzero": f"{HERE}.subzero:SubZero",
        "subzero_plus": f"{HERE}.subzero_plus:SubZeroPlus",
        "tezo": f"{HERE}.tezo:TeZO",
        "zero_shot": f"{HERE}.zero_shot:ZeroShot",
        "zo_act": f"{HERE}.zo_act:ZOAct",
        "zo_adam": f"{HERE}.zo_adam:ZOAdam",
        "zo_adamm": f"{HERE}.zo_adamm:ZOAdaMM",
        "zo_adamu": f"{HERE}.zo_adamu:ZOAdaMU",
        "zo_blockwise": f"{HERE}.zo_blockwise:ZOBlockwise",
        "zo_fine_tuner": f"{HERE}.zo_fine_tuner:ZOFineTuner",
        "zo_mopi": f"{HERE}.zo_mopi:ZOMOPI",
        "zo_muon": f"{HERE}.zo_muon:ZOMuon",
        "zo_sgd_conservative": f"{HERE}.zo_sgd_conservative:ZOSGDConservative",
        "zo_sgd_momentum": f"{HERE}.zo_sgd_momentum:ZOSGDMomentum",
        "zo_sgd_sign": f"{HERE}.zo_sgd_sign:ZOSGDSign",
    }


@hookimpl
def zobench_roles() -> Mapping[str, Sequence[str]]:
    """Who is held against whom: MeZO is what speed-ups are relative to; what is no zeroth-order method is no rival."""
    return {
        "untouched": ["zero_shot"],
        "reference": ["icl", "hidden_probe", "adamw", "sgd"],
        "baseline": ["mezo"],
    }
