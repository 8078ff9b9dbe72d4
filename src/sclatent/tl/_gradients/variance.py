"""How noisy the gradient of each objective is, on the user's own cells."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from sclatent.model import OBJECTIVES, Batch, Batches, CountVAE, Objective
from sclatent.settings import InputError, ModelSettings, checks_arguments
from sclatent.tl._gradients.moments import LAST, Moment, moments_of, training_cells
from sclatent.tl._model.subset import evenly

if TYPE_CHECKING:
    from anndata import AnnData

    from sclatent.tl._model.train import TrainedModel

REFERENCE: dict[str, Any] = {"kind": "elbo"}
USUAL: tuple[dict[str, Any], ...] = (
    REFERENCE,
    {"kind": "elbo", "draws": 2, "noise": "antithetic"},
    {"kind": "elbo", "draws": 8, "noise": "stratified"},
    {"kind": "stl"},
    {"kind": "score", "baseline": "none"},
    {"kind": "score", "baseline": "running"},
    {"kind": "score", "baseline": "others", "draws": 8},
    {"kind": "iwae", "draws": 8},
    {"kind": "dreg", "draws": 8},
)
BURN_IN, BOOTSTRAPS, INTERVAL = 30, 500, (5.0, 95.0)
"""Steps before a running mean is trusted; resamples of the repeats, and the percentiles of their ratios."""
GROUPS = ("encoder", "decoder")
WEIGHTED = ("iwae", "dreg")


@checks_arguments
def gradient_variance(
    prepared: AnnData,
    trained: TrainedModel,
    *,
    objectives: Sequence[str | dict[str, Any]] | None = None,
    cells: int = 64,
    repeats: int = 60,
    moments: Sequence[str] = ("end",),
    seed: int = 0,
) -> pd.DataFrame:
    """Measure how much the gradient of each objective varies with the draws from the posterior, weights and cells held.

    Dropout is off, the training cells are the same throughout, and the KL has the weight of that moment. The reference
    is the pathwise ELBO (Kingma & Welling 2014); the sources of the other objectives are in ``docs/randomness.md``.

    Parameters
    ----------
    prepared
        Cells × genes with counts in ``X``; the model's genes are enough.
    trained
        The model whose weights the gradients are taken at.
    objectives
        As in a dataset file, ``"stl"`` or ``{"kind": "iwae", "draws": 8}``; by default all kinds that go with the
        model's latent.
    cells
        Training cells, evenly spaced, whose mean loss is differentiated.
    repeats
        Gradients of each objective.
    moments
        ``start``, ``tenth`` (after a tenth of the schedule, which is trained once more), ``end``: at which weights.
    seed
        Of the draws.

    Returns
    -------
    DataFrame
        One row per moment, objective and group of parameters (``encoder``; ``decoder``, with what the likelihood has):
        ``moment``, ``objective``, ``group``, ``bound`` (``elbo`` or ``weighted``), ``draws``; ``variance``, the sum of
        all parameters'; ``relative``, draws × variance over that of the pathwise ELBO of one draw, so per decoded cell,
        with ``low`` and ``high`` (90 % bootstrap interval over the repeats); ``agreement``, the squared distance of the
        mean gradient from that of the plainest objective of the same bound and draws, over what chance gives: about 1
        where the two have one mean; ``p``, how often chance alone puts the means so far apart (bootstrap); ``seconds``
        of a gradient (CPU, median), and ``relative_per_second``, the variance times these over that of the reference:
        what an hour buys. These two alone differ from run to run. Ratios to a gradient without
        chance, as that of ``latent: point``, are NaN.

    Raises
    ------
    InputError
        An objective that does not go with the latent; fewer than 4 repeats; no such moment; no training cells.
    """
    if repeats < 4:
        raise InputError(f"gradient_variance: repeats: {repeats} gradients are too few for a variance: use 30 or more")
    data, every = training_cells("gradient_variance", prepared, trained)
    batch = Batches(data).gather(evenly(every, cells))
    chosen = _chosen(trained.vae, objectives)
    rows = []
    for moment in moments_of("gradient_variance", moments, data, every, trained):
        rows += _at(moment, chosen, batch, repeats, seed)
    return pd.DataFrame(rows)


def _at(
    moment: Moment, chosen: list[str | dict[str, Any]], batch: Batch, repeats: int, seed: int
) -> list[dict[str, object]]:
    """Return the rows of one moment."""
    vae = moment.vae
    base = _Gradients(moment, _objective(vae, REFERENCE), batch, repeats, seed)
    plainest: dict[int, _Gradients] = {}
    rows: list[dict[str, object]] = []
    for one in chosen:
        objective = _objective(vae, one)
        found = _Gradients(moment, objective, batch, repeats, seed + 1)
        weighted = objective.given.kind in WEIGHTED
        plain = base
        if weighted:
            n = objective.draws
            if n not in plainest:
                plainest[n] = _Gradients(moment, _objective(vae, {"kind": "iwae", "draws": n}), batch, repeats, seed)
            plain = plainest[n]
        for group in GROUPS:
            ratio, low, high = found.relative(base, group, seed)
            agreement, p = found.agreement(plain, group, seed)
            rows.append(
                {
                    "moment": moment.name,
                    "objective": label(one),
                    "group": group,
                    "bound": "weighted" if weighted else "elbo",
                    "draws": objective.draws,
                    "variance": found.variance(group),
                    "relative": ratio,
                    "low": low,
                    "high": high,
                    "agreement": agreement,
                    "p": p,
                    "seconds": found.seconds,
                    "relative_per_second": ratio * (found.seconds / found.draws) / (base.seconds / base.draws),
                }
            )
    return rows


def label(objective: str | dict[str, Any]) -> str:
    """Return an objective in words: its kind, and what is set of it."""
    if isinstance(objective, str):
        return objective
    return " ".join([str(objective["kind"]), *(f"{key}={value}" for key, value in objective.items() if key != "kind")])


def _chosen(vae: CountVAE, objectives: Iterable[str | dict[str, Any]] | None) -> list[str | dict[str, Any]]:
    if objectives is not None:
        return list(objectives)
    latent = vae.settings.latent
    usual: Iterable[dict[str, Any]] = USUAL if latent.density else (REFERENCE,)
    return [one for one in usual if not (latent.relaxed and one["kind"] in ("stl", *WEIGHTED))]


def _objective(vae: CountVAE, one: str | dict[str, Any]) -> Objective:
    given = vae.settings.model_dump(exclude={"objective"}) | {"objective": one}
    try:
        settings = ModelSettings.model_validate(given).objective
    except ValueError as problem:
        what = problem.errors()[0]["msg"] if hasattr(problem, "errors") else str(problem)
        raise InputError(f"gradient_variance: {label(one)}: {what.removeprefix('Value error, ')}") from None
    return OBJECTIVES[settings.kind](settings)


def grouped_gradient(vae: CountVAE, loss: torch.Tensor) -> dict[str, np.ndarray]:
    """Return the gradient of a loss as one vector for each group of parameters."""
    parts: dict[str, list[torch.nn.Parameter]] = {group: [] for group in GROUPS}
    for name, parameter in vae.named_parameters():
        parts["encoder" if ".encoder." in f".{name}" else "decoder"].append(parameter)
    every = [one for group in GROUPS for one in parts[group]]
    found = iter(torch.autograd.grad(loss, every, allow_unused=True))
    out = {}
    for group in GROUPS:
        flat = [torch.zeros(one.numel()) if (g := next(found)) is None else g.flatten() for one in parts[group]]
        out[group] = torch.cat([one.cpu() for one in flat]).numpy()
    return out


class _Gradients:
    """Gradients of an objective, one per repeat, by group of parameters."""

    def __init__(self, moment: Moment, objective: Objective, batch: Batch, repeats: int, seed: int) -> None:
        vae = moment.vae
        noise = torch.Generator(device=vae.device).manual_seed(seed)
        collected: dict[str, list[np.ndarray]] = {group: [] for group in GROUPS}
        waits = BURN_IN * bool(objective.state())
        before, vae.progress = vae.progress, min(vae.progress, LAST)
        seconds = []
        try:
            for step in range(repeats + waits):
                begun = time.process_time()
                loss = objective.loss(vae, batch, noise, None, moment.kl_weight).cells.mean()
                if step < waits:
                    continue
                for group, gradient in grouped_gradient(vae, loss).items():
                    collected[group].append(gradient)
                seconds.append(time.process_time() - begun)
        finally:
            vae.progress = before
        self.draws = objective.draws
        self.seconds = max(float(np.median(seconds)), 1e-9)
        self.values = {group: np.array(every) for group, every in collected.items()}

    def variance(self, group: str) -> float:
        """Sum of the variances of the parameters of a group."""
        return float(self.values[group].var(0, ddof=1, dtype=np.float64).sum())

    def relative(self, base: _Gradients, group: str, seed: int) -> tuple[float, float, float]:
        """Variance per draw over that of `base`, and the bounds of its bootstrap interval."""
        rng = np.random.default_rng(seed)
        above, below = (resampled(one.values[group], rng)[1] * one.draws for one in (self, base))
        usual = base.draws * base.variance(group)
        if usual == 0:  # a gradient without chance, as of a point: there is nothing to compare with
            return np.nan, np.nan, np.nan
        some = below > 0  # of a few repeats a resample can be one of them, time and again
        low, high = np.percentile(above[some] / below[some], INTERVAL)
        return self.draws * self.variance(group) / usual, float(low), float(high)

    def agreement(self, other: _Gradients, group: str, seed: int) -> tuple[float, float]:
        """Squared distance of the mean gradients over its expectation if they have one mean, and the p of that."""
        one, two = self.values[group].astype(np.float64), other.values[group].astype(np.float64)
        away = ((one.mean(0) - two.mean(0)) ** 2).sum()
        expected = self.variance(group) / len(one) + other.variance(group) / len(two)
        # both moved to one mean, then resampled: how far apart do means come to lie?
        rng = np.random.default_rng(seed)
        centred = np.concatenate([one - one.mean(0), two - two.mean(0)])
        times = np.hstack([_times(len(one), rng) / len(one), -_times(len(two), rng) / len(two)])
        chance = np.einsum("bi,ij,bj->b", times, centred @ centred.T, times)
        if expected == 0:
            return np.nan, np.nan
        return float(away / expected), float((1 + (chance >= away).sum()) / (1 + BOOTSTRAPS))


def _times(n: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of n rows is in each resample (resamples × n)."""
    return rng.multinomial(n, np.full(n, 1 / n), size=BOOTSTRAPS).astype(np.float64)


def resampled(values: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return bootstrap resamples of the rows: how often each is in them, and the sums of the columns' variances.

    Rows that come twice make a resample's variance smaller by (n − 1)/n in the mean; that is taken back.
    """
    centred = values - values.mean(0)
    inner, n = (centred @ centred.T).astype(np.float64), len(values)
    times = _times(n, rng)
    return times, (times @ np.diag(inner) - np.einsum("bi,ij,bj->b", times, inner, times) / n) * n / (n - 1) ** 2
