"""Every engine over all weights and over one block, with each way to restore, precision and dtype: as on a CPU."""

from __future__ import annotations

import pytest
from pretend_kit import assert_as_on_the_cpu

from zobench.engine import ENGINES, engine_class

WAYS = [
    (dtype, engine, restore, precision)
    for dtype in ("float32", "float16", "bfloat16")
    for engine in ENGINES
    for restore in engine_class(engine).restores
    for precision in engine_class(engine).precisions
    # float32 masters of float32 weights are the weights, and masters are restored exactly whatever is asked
    if precision == "native" or (dtype != "float32" and restore == "exact")
]


@pytest.mark.parametrize("scope", ["full", "layer"])
@pytest.mark.parametrize(("dtype", "engine", "restore", "precision"), WAYS)
def test_a_run_is_that_of_the_cpu(dtype, engine, restore, precision, scope):
    assert_as_on_the_cpu(dtype, engine=engine, restore=restore, precision=precision, scope=scope)
