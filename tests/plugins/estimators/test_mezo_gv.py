"""mezo_gv and the directions guided: steps against their equations in plain torch, and versions that are not it."""

from __future__ import annotations

import pytest
from kits.drawing_kit import EPS, LR, run
from kits.reading_kit import Blocks, batch, difference, draw, loss_at, plus, slope
from zobench_plugins.estimators.mezo_gv import MeZOGV

from zobench.plugins.registry import load_plugins

FOUND = load_plugins(only="")


def gv(steps=8, pool=2, elite=0.5, choose="contrast", kept=False, upside_down=False, unlooked=False):
    theta, held = Blocks().weights(), None
    for t in range(steps):
        new = pool - (held is not None)
        zs = [draw(theta, t, number=i + 1) for i in range(new)] + ([held] if held is not None else [])
        seen = [float(loss_at(plus(theta, EPS, z), batch(t))) for z in zs]
        order = sorted(range(pool), key=lambda i: seen[i], reverse=upside_down)
        low = order[: int(elite * pool)]
        high = [i for i in order if i not in low]
        if choose == "best":
            v = zs[order[0]]
        else:
            v = {n: sum(zs[i][n] for i in low) / len(low) - sum(zs[i][n] for i in high) / len(high) for n in theta}
        held = zs[order[0]] if kept else None
        along = draw(theta, t, number=pool + 1) if unlooked else v
        c = slope(theta, along, batch(t), EPS)
        theta = plus(theta, -LR * c, v)
    return theta


@pytest.mark.parametrize(
    "settings",
    [{}, {"pool": 5, "elite": 0.4}, {"pool": 4, "choose": "best"}, {"pool": 3, "elite": 0.34, "candidates": "kept"}],
    ids=["two", "five", "greedy", "kept"],
)
@pytest.mark.parametrize("engine", ["pair", "flat"])
def test_step(settings, engine):
    said = {k: v for k, v in settings.items() if k != "candidates"}
    kept = "candidates" in settings
    ours, opt = run(MeZOGV, engine=engine, **settings)
    assert difference(ours, gv(**said, kept=kept)) < 1e-9
    assert difference(ours, gv(**said, kept=not kept)) > 1e-4
    assert difference(ours, gv(**said, kept=kept, unlooked=True)) > 1e-4, "the slope is along the guiding vector"
    if settings:
        assert difference(ours, gv(**said, kept=kept, upside_down=True)) > 1e-4
    pool = settings.get("pool", 2)
    assert opt.forwards == {"train": 8 * (pool + 2)}
    assert opt.state_bytes() == (8 * sum(p.shape.numel() for p in opt.handles) if kept else 0)


def test_with_two_candidates_their_losses_decide_nothing():
    assert difference(gv(), gv(upside_down=True)) < 1e-9
    assert difference(gv(pool=3, elite=0.4), gv(pool=3, elite=0.4, upside_down=True)) > 1e-4


@pytest.mark.parametrize("settings", [{}, {"pool": 4, "elite": 0.25}, {"pool": 3, "choose": "best"}])
def test_it_is_mezo_along_guided_directions(settings):
    along = {f"directions.{k}": v for k, v in settings.items()}
    both = [run(MeZOGV, **settings), run(FOUND.estimator("mezo:guided"), **along)]
    assert difference(both[0][0], both[1][0]) == 0 and both[0][1].forwards == both[1][1].forwards


def test_others_take_the_directions():
    opt = run(FOUND.estimator("zo_adam:guided"), **{"directions.pool": 3})[1]
    assert opt.forwards == {"train": 8 * 5}
    assert run(FOUND.estimator("n_spsa:guided"), q=2)[1].forwards == {"train": 8 * 2 * 4}, (
        "candidates of its own for each"
    )
