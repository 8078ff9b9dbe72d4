"""Do the constants of the cycle stage carry over? Each is chosen on all sets but one, and judged on that one.

    python tests/benchmarks/cycle_left_out.py [--only "second peak" ...] [--sets ipsc mls ...] [--quick]

First every constant is moved alone, each to values beside its own and, where that has a meaning, to one that switches
it off; the table says what each set is worth then. Then, for every set in turn, each constant takes the value with the
best mean over the *other* sets, and the stage runs on the set left out with all these values together: that is beside
the value with the constants as they are. `--quick` leaves that last step out.

Measures, all between 0 and 1: mean cosine with the FUCCI angle (`ipsc`), best three arcs (`mls`, `h1_sorted`), mean
cosine of the angle of half of the cells with that of all (`lung3cl`), order of peaks (Spearman) with that of
synchronised cells (`neurosphere`, `h1_unsorted`, `mesc`; 0 without a cycle), mean cosine with the truth (`simulator`).
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from typing import Any

import anndata as ad
import numpy as np
from cycle import arc_accuracy, mean_cosine, row, settings
from cycle_verdict import data_set
from scipy.stats import spearmanr

from sclatent.data import peak_order, simulate
from sclatent.tl import cycle
from sclatent.tl._cycle import em as _cycle_em
from sclatent.tl._cycle import fit as _cycle_fit
from sclatent.tl._cycle import grow as _cycle_grow
from sclatent.tl._cycle import join as _cycle_join
from sclatent.tl._cycle import states as _cycle_states
from sclatent.tl._cycle.laws import log as _cycle_log
from sclatent.tl._cycle.laws import source as _cycle_source
from sclatent.tl._cycle.scores import symbols

Change = Callable[[float], dict[tuple[Any, str], Any]]


def of_module(module: Any, name: str) -> Change:
    """Return what sets a constant of a module."""
    return lambda value: {(module, name): value}


def of_plan(law: str, name: str) -> Change:
    """Return what sets a constant of the plan for deep or for shallow counts."""
    plan = _cycle_fit.PLANS[law]
    return lambda value: _plans(law, replace(plan, **{name: value}))


def of_step(law: str, name: str, which: slice = slice(None)) -> Change:
    """Return what sets a constant of some steps of a plan."""
    plan = _cycle_fit.PLANS[law]
    chosen = range(len(plan.grow))[which]

    def change(value: float) -> dict[tuple[Any, str], Any]:
        grow = tuple(replace(s, **{name: value}) if k in chosen else s for k, s in enumerate(plan.grow))
        return _plans(law, replace(plan, grow=grow))

    return change


def _plans(law: str, plan: Any) -> dict[tuple[Any, str], Any]:
    name = "DEEP_PLAN" if law == "log-normal" else "SHALLOW_PLAN"
    return {(_cycle_fit, name): plan}


DEEP, SHALLOW = "log-normal", "negative binomial"
CONSTANTS: dict[str, tuple[float, tuple[float, ...], Change]] = {
    "deep counts: scatter over chance": (1.5, (1.2, 2.0), of_module(_cycle_fit, "DEEP")),
    "deep: least R²": (0.12, (0.06, 0.18), of_plan(DEEP, "min_r2")),
    "deep: share by chance": (0.1, (0.03, 0.3), of_step(DEEP, "by_chance")),
    "deep: share of a rival axis": (0.8, (0.0, 0.5, 1.0), of_step(DEEP, "rival")),
    "shallow: first gain": (12, (8, 18), of_step(SHALLOW, "gain", slice(0, 2))),
    "shallow: later gain": (8, (5, 12), of_step(SHALLOW, "gain", slice(2, 4))),
    "shallow: share by chance": (0.2, (0.05, 0.4), of_step(SHALLOW, "by_chance", slice(4, 6))),
    "shallow: share of a rival axis": (0.15, (0.0, 0.3), of_step(SHALLOW, "rival", slice(0, 4))),
    "shallow: the same, last steps": (0.4, (0.15, 0.6), of_step(SHALLOW, "rival", slice(4, 6))),
    "shallow: most genes that join": (150, (75, 300), of_plan(SHALLOW, "max_joined")),
    "second peak": (0.1, (0.05, 0.2, 1.0), of_module(_cycle_grow, "SECOND_PEAK")),
    "a later guess is clearly better": (0.05, (0.0, 0.2), of_module(_cycle_grow, "CLEARLY")),
    "axes beside the angle": (5, (3, 10), of_module(_cycle_join, "AXES")),
    "steps before the resting state opens": (5, (2, 10), of_module(_cycle_em, "HOLD")),
    "steps before the shared error opens": (
        _cycle_log.SETTLE,
        (10, 30),
        lambda steps: {(_cycle_source, "LogLaw"): partial(_cycle_log.LogLaw, settle=int(steps))},
    ),
    "genes that the prior of a shape weighs": (4, (2, 8), of_module(_cycle_states, "GUESS_GENES")),
}


@contextmanager
def changed(values: dict[str, float]) -> Iterator[None]:
    """Run with some constants changed; several changes of one plan are made one after the other."""
    saved: dict[tuple[Any, str], Any] = {}
    plans = dict(_cycle_fit.PLANS)
    try:
        for name, value in values.items():
            for (module, attribute), new in CONSTANTS[name][2](value).items():
                saved.setdefault((module, attribute), getattr(module, attribute))
                merged = _merge(saved[module, attribute], getattr(module, attribute), new)
                setattr(module, attribute, merged)
        yield
    finally:
        for (module, attribute), old in saved.items():
            setattr(module, attribute, old)
        assert dict(_cycle_fit.PLANS) == plans


def _merge(first: Any, now: Any, new: Any) -> Any:
    """Return `new`, but with what `now` has that differs from `first` (plans only)."""
    if not isinstance(first, _cycle_grow.Plan):
        return new
    fields = {k: getattr(now, k) for k in vars(first) if k != "grow" and getattr(now, k) != getattr(first, k)}
    steps = tuple(
        replace(c, **{k: v for k, v in vars(b).items() if v != getattr(a, k)})
        for a, b, c in zip(first.grow, now.grow, new.grow, strict=True)
    )
    return replace(new, **fields, grow=steps)


@cache
def data(name: str) -> tuple[ad.AnnData, dict[str, Any]]:
    """Return the cells of a set, and its settings."""
    if name.startswith("simulator"):
        depth = float(name.split()[1])
        return simulate(800, 1500, resting=0.3, median_library=depth, seed=1), {"organism": "human"}
    return data_set(name)


@cache
def whole_lung() -> np.ndarray:
    """Return the angle of all cells of `lung3cl`, with the constants as they are."""
    cells, keys = data("lung3cl")
    return cycle(cells, **settings(**keys).parts(cycle)).obs["cycle_angle"].to_numpy()


def worth(name: str) -> float:
    """Return what the angle of one set is worth."""
    cells, keys = data(name)
    if name == "lung3cl":
        some = np.sort(np.random.default_rng(0).permutation(cells.n_obs)[: cells.n_obs // 2])
        found = cycle(cells[some].copy(), **settings(**keys).parts(cycle))
        return _cosine(whole_lung()[some], found)
    found = cycle(cells, **settings(**keys).parts(cycle))
    if name == "ipsc":
        return _cosine(cells.obs["fucci_theta"].to_numpy(float), found)
    if name.startswith("simulator"):
        cycling = cells.obs["true_cycling"].to_numpy(bool)
        return _cosine(cells.obs["true_angle"].to_numpy()[cycling], found[cycling])
    if found.obs["cycle_angle"].isna().all():
        return 0.0
    if "phase_sorted" in cells.obs:
        return arc_accuracy(found.obs["cycle_angle"].to_numpy(), cells.obs["phase_sorted"].to_numpy(str))
    stage = {gene.upper(): rank for gene, rank in zip(peak_order()["gene"], peak_order()["rank"], strict=True)}
    symbol = dict(zip(cells.var_names, symbols(cells.var)[0], strict=True))
    rank = np.array([stage.get(symbol[gene].upper(), 0) for gene in found.var_names])
    return float(spearmanr(rank[rank > 0], found.var["peak"].to_numpy()[rank > 0]).statistic)


def _cosine(truth: np.ndarray, found: ad.AnnData) -> float:
    angle = found.obs["cycle_angle"].to_numpy()
    return 0.0 if np.isnan(angle).all() else mean_cosine(truth, angle)


SETS = (
    "ipsc", "mls", "h1_sorted", "lung3cl", "neurosphere", "h1_unsorted", "mesc",
    "simulator 500", "simulator 4000", "simulator 30000",
)  # fmt: skip


def main() -> None:
    """Print both tables."""
    warnings.filterwarnings("ignore")
    logging.getLogger("sclatent").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CONSTANTS), default=list(CONSTANTS))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--quick", action="store_true", help="move each constant alone, and no more")
    args = parser.parse_args()
    row("constant", "value", *args.sets)
    row(*["---"] * (2 + len(args.sets)))
    base = {name: worth(name) for name in args.sets}
    row("as they are", "", *base.values())
    tried: dict[str, dict[float, dict[str, float]]] = {}
    for constant in args.only:
        default, others, _ = CONSTANTS[constant]
        tried[constant] = {default: base}
        for value in others:
            with changed({constant: value}):
                tried[constant][value] = {name: worth(name) for name in args.sets}
            row(constant, f"{value:g} (is {default:g})", *tried[constant][value].values())
    if args.quick:
        return
    row("set left out", "changed for it", "as they are", "left out", "share")
    row(*["---"] * 5)
    for left in args.sets:
        best = {}
        for constant, values in tried.items():
            mean = {value: np.mean([of[name] for name in args.sets if name != left]) for value, of in values.items()}
            chosen = max(mean, key=lambda value: (mean[value], value == CONSTANTS[constant][0]))
            if chosen != CONSTANTS[constant][0]:
                best[constant] = chosen
        with changed(best):
            value = worth(left)
        words = "; ".join(f"{name} {value:g}" for name, value in best.items())
        row(left, words, base[left], value, f"{value / base[left]:.1%}")


if __name__ == "__main__":
    main()
