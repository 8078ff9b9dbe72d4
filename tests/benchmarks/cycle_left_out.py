"""Do the constants of the cycle stage carry over? Each is chosen on all sets but one, and judged on that one.

    python tests/benchmarks/cycle_left_out.py [--only "second peak" ...] [--sets ipsc mls ...] [--jobs 2]

First every constant is moved alone, down and up; the table says what each set is worth then. Then, for every set in
turn, each constant takes the value with the best mean over the *other* sets, if that mean is better than where it is by
more than its standard error over them, and the stage runs on the set left out
with all these values together. Beside it is the set's worth with the constants tuned on that set itself (each alone or
all of them together, whichever is best). The verdict is not asked (its constants: `cycle_verdict.py`), so the evidence
is weighed once for each set.

Measures, all between 0 and 1: mean cosine with the FUCCI angle (`ipsc`), best three arcs (`mls`, `h1_sorted`), mean
cosine of the angle of half of the cells with that of all (`lung3cl`), order of peaks (Spearman, from the best beginning
of the circle) with that of synchronised cells (`neurosphere`, `h1_unsorted`, `mesc`), mean cosine with the truth
(`simulator`); for the error of a border the mean probability of the true phase (`mls`, `h1_sorted`, `simulator`).
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from multiprocessing import get_context
from typing import Any

import anndata as ad
import numpy as np
from cycle import PHASES, arc_accuracy, mean_cosine, row, settings
from cycle_verdict import data_set
from scipy.stats import spearmanr

from sclatent.data import peak_order, simulate
from sclatent.tl import cycle
from sclatent.tl._cycle import choice, em, fit, grow, join, law_choice, phase, states
from sclatent.tl._cycle.laws import counts, log, source
from sclatent.tl._cycle.scores import symbols

Place = tuple[Any, str]
Values = dict[str, float]


def _settle(steps: float) -> Any:
    return partial(log.LogLaw, settle=int(steps))


def _amplitudes(first: float) -> tuple[float, ...]:
    return tuple(first / h for h in (1, 2, 3))


# name: value, values beside it, where it is, what is put there, and which counts it is about
CONSTANTS: dict[str, tuple[float, tuple[float, float], tuple[Place, ...], Any, str]] = {
    "scatter from which counts are deep": (1.5, (1.2, 2.0), ((law_choice, "DEEP"),), float, "all"),
    "evidence for a later guess": (0.05, (0.0, 0.2), ((grow, "CLEARLY"),), float, "all"),
    "concentration of the first guess": (2.0, (1.0, 4.0), ((em, "CONCENTRATION"),), float, "all"),
    "first probability to rest": (0.9, (0.7, 0.97), ((fit, "RESTING"),), float, "all"),
    "steps before the resting state": (5, (2, 10), ((em, "HOLD"),), int, "all"),
    "steps before the shared errors": (20, (10, 30), ((source, "LogLaw"),), _settle, "deep"),
    "cells that a level leans on": (5, (2, 10), tuple((m, "LEAN") for m in (log, counts, choice)), float, "all"),
    "genes of the first shape": (4, (2, 8), ((states, "GUESS_GENES"),), float, "all"),
    "amplitude of the first shape": (0.3, (0.2, 0.45), ((states, "GUESS_AMPLITUDE"),), _amplitudes, "all"),
    "least R²": (0.12, (0.06, 0.18), ((grow, "MIN_R2"),), float, "deep"),
    "share that joins by chance": (0.1, (0.03, 0.3), ((grow, "BY_CHANCE"),), float, "all"),
    "most genes that join": (150, (75, 300), ((grow, "MAX_JOINED"),), int, "shallow"),
    "axes beside the angle": (5, (3, 10), ((join, "AXES"),), int, "all"),
    "genes of these axes": (2000, (1000, 4000), ((join, "VARIABLE"),), int, "all"),
    "second peak": (0.1, (0.05, 0.2), ((grow, "SECOND_PEAK"),), float, "all"),
    "error of a border": (0.04, (0.02, 0.08), ((phase, "BLUR"),), float, "borders"),
}


@contextmanager
def changed(values: Values) -> Iterator[None]:
    """Run with some constants changed."""
    places = {place: CONSTANTS[name][3](value) for name, value in values.items() for place in CONSTANTS[name][2]}
    saved = {(module, name): getattr(module, name) for module, name in places}
    try:
        for (module, name), value in places.items():
            setattr(module, name, value)
        yield
    finally:
        for (module, name), value in saved.items():
            setattr(module, name, value)


def concerns(constant: str, name: str) -> bool:
    """Return whether a constant can change what a set is worth."""
    kind = CONSTANTS[constant][4]
    shallow = name in ("simulator 500", "simulator 4000")
    return kind == "all" or ((kind == "shallow") == shallow and kind != "borders")


@cache
def data(name: str) -> tuple[ad.AnnData, dict[str, Any]]:
    """Return the cells of a set, and its settings."""
    if name.startswith("simulator"):
        depth = float(name.split()[1])
        return simulate(800, 1500, resting=0.3, median_library=depth, seed=1), {"organism": "human"}
    return data_set(name)


def angles(name: str, cells: ad.AnnData, keys: dict[str, Any]) -> ad.AnnData:
    """Return what the stage finds; whether there is a cycle is asked once for each set."""
    saved = fit.weigh
    found: list[Any] = []

    def weigh(*args: Any, **how: Any) -> Any:
        if name not in EVIDENCE:
            EVIDENCE[name] = saved(*args, **how)
        found.append(EVIDENCE[name])
        return found[0]

    fit.weigh, plans = weigh, (law_choice.DEEP_PLAN, law_choice.SHALLOW_PLAN)
    law_choice.DEEP_PLAN, law_choice.SHALLOW_PLAN = (replace(plan, beside=False) for plan in plans)
    try:
        return cycle(cells, **settings(**keys).parts(cycle))
    finally:
        fit.weigh, (law_choice.DEEP_PLAN, law_choice.SHALLOW_PLAN) = saved, plans


EVIDENCE: dict[str, Any] = {}


@cache
def whole_lung() -> np.ndarray:
    """Return the angle of all cells of `lung3cl`, with the constants as they are."""
    cells, keys = data("lung3cl")
    return angles("lung3cl", cells, keys).obs["cycle_angle"].to_numpy()


def worth(task: tuple[Values, str]) -> float:
    """Return what the angle of one set is worth with some constants changed."""
    values, name = task
    cells, keys = data(name)
    whole = whole_lung() if name == "lung3cl" else np.empty(0)
    with changed(values):
        if name == "lung3cl":
            some = np.sort(np.random.default_rng(0).permutation(cells.n_obs)[: cells.n_obs // 2])
            return _cosine(whole[some], angles("half of lung3cl", cells[some].copy(), keys))
        found = angles(name, cells, keys)
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
    peak, rank = found.var["peak"].to_numpy()[rank > 0], rank[rank > 0]
    turned = [np.mod(peak + by, 2 * np.pi) for by in np.linspace(0, 2 * np.pi, 36, endpoint=False)]
    return max(float(spearmanr(rank, one).statistic) for one in turned)


def likely(task: tuple[Values, str]) -> float:
    """Return the geometric mean of the probability of the true phase, for the error of a border."""
    values, name = task
    cells, keys = data(name)
    with changed(values):
        found = angles(name, cells, keys)
    column = "true_phase" if name.startswith("simulator") else "phase_sorted"
    known = found.obs["cycling"].to_numpy() & cells.obs[column].notna().to_numpy()
    true = [PHASES.index(x) for x in cells.obs[column].astype(str)[known]]
    return float(np.exp(np.log(np.maximum(found.obsm["phase_probability"][known, true], 1e-3)).mean()))


def _cosine(truth: np.ndarray, found: ad.AnnData) -> float:
    angle = found.obs["cycle_angle"].to_numpy()
    return 0.0 if np.isnan(angle).all() else mean_cosine(truth, angle)


SETS = (
    "ipsc", "mls", "h1_sorted", "lung3cl", "neurosphere", "h1_unsorted", "mesc",
    "simulator 500", "simulator 4000", "simulator 30000",
)  # fmt: skip
BORDERS = ("mls", "h1_sorted", "simulator 4000")


def quiet() -> None:
    """Print nothing but the tables."""
    warnings.filterwarnings("ignore")
    logging.getLogger("sclatent").setLevel(logging.ERROR)


def best_without(tried: dict[str, dict[float, dict[str, float]]], names: list[str]) -> Values:
    """Return the constants that are better elsewhere than where they are, by the mean over some sets.

    Of several sets the gain has to be above its standard error over them: what moves a mean by less is chance, and a
    dozen constants that are moved by chance at once are none that anybody would choose.
    """
    best = {}
    for constant, by_value in tried.items():
        base = by_value[CONSTANTS[constant][0]]
        gains = {v: np.array([of[name] - base[name] for name in names]) for v, of in by_value.items()}
        chosen = max(gains, key=lambda v: (round(gains[v].mean(), 6), v == CONSTANTS[constant][0]))
        error = gains[chosen].std(ddof=1) / np.sqrt(len(names)) if len(names) > 1 else 0.0
        if gains[chosen].mean() > error:
            best[constant] = chosen
    return best


def main() -> None:
    """Print both tables."""
    quiet()
    angle = [name for name in CONSTANTS if CONSTANTS[name][4] != "borders"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=angle, default=angle)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("fork"), initializer=quiet) as pool:
        alone(pool, args.only, args.sets)
        borders(pool)


def alone(pool: ProcessPoolExecutor, constants: list[str], sets: list[str]) -> None:
    """Print the table of constants moved alone, and that of sets left out."""
    row("constant", "value", *sets, "mean")
    row(*["---"] * (3 + len(sets)))
    base = dict(zip(sets, pool.map(worth, [({}, name) for name in sets]), strict=True))
    row("as they are", "", *base.values(), float(np.mean(list(base.values()))))
    tried: dict[str, dict[float, dict[str, float]]] = {}
    for constant in constants:
        default, others, *_ = CONSTANTS[constant]
        tried[constant] = {default: base}
        for value in others:
            here = [name for name in sets if concerns(constant, name)]
            new = dict(zip(here, pool.map(worth, [({constant: value}, name) for name in here]), strict=True))
            tried[constant][value] = base | new
            mean = float(np.mean(list((base | new).values())))
            row(constant, f"{value:g} (is {default:g})", *[new.get(name, "") for name in sets], mean)
    print()
    row("set", "as they are", "changed on the others", "left out", "changed on it", "tuned on it", "share")
    row(*["---"] * 7)
    without = {name: best_without(tried, [other for other in sets if other != name]) for name in sets}
    own = {name: best_without(tried, [name]) for name in sets}
    left = list(pool.map(worth, [(without[name], name) for name in sets]))
    together = list(pool.map(worth, [(own[name], name) for name in sets]))
    tuned = [
        max([value, *(of[name] for by_value in tried.values() for of in by_value.values())])
        for name, value in zip(sets, together, strict=True)
    ]
    for name, a, b in zip(sets, left, tuned, strict=True):
        row(name, base[name], _words(without[name]), a, _words(own[name]), b, f"{a / b:.1%}")
    a, b = float(np.mean(left)), float(np.mean(tuned))
    row("mean", float(np.mean(list(base.values()))), "", a, "", b, f"{a / b:.1%}")


def borders(pool: ProcessPoolExecutor) -> None:
    """Print what the error of a border is worth, and where it is put without each of the sets."""
    name = "error of a border"
    default, others, *_ = CONSTANTS[name]
    values = sorted((default, *others))
    tasks = [({name: value}, one) for value in values for one in BORDERS]
    found = np.array(list(pool.map(likely, tasks))).reshape(len(values), -1)
    print()
    row(name, *BORDERS)
    row(*["---"] * (1 + len(BORDERS)))
    for value, of_sets in zip(values, found, strict=True):
        row(f"{value:g}", *of_sets.tolist())
    left = [int(np.delete(found, k, axis=1).mean(axis=1).argmax()) for k in range(len(BORDERS))]
    row("chosen on the others", *[f"{values[k]:g}: {found[k, j]:.3f}" for j, k in enumerate(left)])


def _words(values: Values) -> str:
    return "; ".join(f"{name} {value:g}" for name, value in values.items())


if __name__ == "__main__":
    main()
