#!/bin/bash
# The factorial board: directions x updates x scopes, at equal forwards, rates chosen on dev by a seed that is not reported.
# Run it again after an interruption: what has a record is done. TASKS="sst2" bash run.sh runs one task alone.
#   zobench's environment active, in the root of a checkout; one process, some hours on one core.
set -e
export OMP_NUM_THREADS=1 TASKS="${TASKS:-sst2 copa rte squad}" OUT="${OUT:-results/factors}"
exec python - <<'PY'
import os

from zobench.cli import main

UPDATES = {  # estimator: learning rates over all weights; how they shrink where entries of a direction have mean square s
    "mezo": ((3e-5, 1e-4, 3e-4), lambda s: s),
    "fzoo": ((3e-3, 1e-2, 3e-2), lambda s: s**0.5),
    "zo_adamm": ((1e-3, 3e-3, 1e-2), lambda s: 1),
    "zo_sgd_sign": ((3e-4, 1e-3, 3e-3), lambda s: 1),
    "zo_adam": ((3e-4, 1e-3, 3e-3), lambda s: 1),
    "mezo_muon": ((3e-4, 1e-3, 3e-3), lambda s: 1),
    "zo_sgd_momentum": ((3e-6, 1e-5, 3e-5), lambda s: s),
    "mezo_normalized": ((3e-4, 1e-3, 3e-3), lambda s: 1),
}
SQUARES = {"gaussian": 1, "rademacher": 1, "lozo": 2, "subzero": 1, "tezo": 24}
SCOPES = {"all": 1.0, "first_outlier": 3.0}  # a block of eight takes about three times the rate
SETS = "train_forwards=200", "eval_every=100", "num_dev=100", "num_test=200", "speed_steps=0"

for task in os.environ["TASKS"].split():
    for update, (rates, shrink) in UPDATES.items():
        by_size = {}
        for family, square in SQUARES.items():
            by_size.setdefault(shrink(square), []).append(f"{update}:{family}")
        for size, names in by_size.items():
            for scope, times in SCOPES.items():
                lrs = ",".join(f"{rate * times / size:.3g}" for rate in rates)
                words = ["run", "--estimator", ",".join(names), "--selector", scope, "--tasks", task, "--lr", lrs]
                words += ["--tune-seeds", "0", "--seeds", "1,2,3", "--results", os.environ["OUT"]]
                words += [word for one in SETS for word in ("--set", one)]
                code = main(words)
                if code in (129, 130, 143):  # hung up, interrupted or ended
                    raise SystemExit(code)
                if code:
                    print(f"exit status {code}: zobench {' '.join(words)}", flush=True)
PY
