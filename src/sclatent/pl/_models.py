"""Figures that compare models: held-out fit, training, axes in use, calibration, best axis for each phase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sclatent.pl import _style as st
from sclatent.pl._calibration import calibration
from sclatent.pl._models_axes import Run, axes_in_use

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@st.styled
def models(
    models: pd.DataFrame,
    metrics: Mapping[Run, Mapping[str, Any]],
    histories: Mapping[Run, pd.DataFrame],
    axes: Mapping[Run, pd.DataFrame] | None = None,
) -> st.Figures:
    """Draw what there is to choose between models and seeds.

    Parameters
    ----------
    models
        ``models.tsv``.
    metrics, histories, axes
        ``metrics.json``, ``history.tsv`` and ``axes.tsv`` of every run, by (model, seed).

    Returns
    -------
    dict of Figure
        ``held_out`` (marginal log-likelihood and ELBO), ``training``, ``axes`` (KL per axis; with several runs the axes
        in use, with several numbers of axes the held-out fit over them), ``cell_cycle`` where there are scores,
        ``calibration`` where the metrics hold it.
    """
    figures = {
        "held_out": _held_out(models),
        "training": _training(histories),
        "axes": axes_in_use(models, axes or {}, _names(models)),
    }
    if "best_mi_S" in models and models["best_mi_S"].notna().any():
        figures["cell_cycle"] = _cell_cycle(models)
    known = {run: m["calibration"] for run, m in metrics.items() if m.get("calibration")}
    if known:
        figures["calibration"] = calibration(known, models)
    return figures


def _names(models: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(models["model"].astype(str)))


def _selected(models: pd.DataFrame) -> np.ndarray:
    if "selected" not in models:
        return np.zeros(len(models), dtype=bool)
    return (models["selected"].astype(str).str.lower() == "true").to_numpy()


def _held_out(models: pd.DataFrame) -> st.Figure:
    """Held-out log-likelihood per cell: a dot per seed, its standard error over cells, test and validation."""
    names = _names(models)
    chosen = _selected(models)
    fig = st.figure(8.4, 1.6 + _row(models) * len(names))
    panels = fig.subplots(1, 2, sharey=True)
    spread = _offsets(models, names)
    for ax, split in zip(panels, ("test", "validation"), strict=True):
        drawn = False
        for column, marker, label in (
            (f"{split}_marginal", "o", "marginal log-likelihood"),
            (f"{split}_elbo", "|", "ELBO"),
        ):
            if column not in models or models[column].isna().all():
                continue
            x = models[column].to_numpy(dtype=float)
            error = models.get(f"{split}_marginal_se") if marker == "o" else None
            if error is not None:
                ax.errorbar(
                    x, spread, xerr=error.to_numpy(dtype=float), fmt="none", ecolor=st.PALE, elinewidth=2.5, zorder=1
                )
            color = st.BLUE if marker == "o" else st.GREY
            ax.plot(
                x,
                spread,
                marker,
                ms=5 if marker == "o" else 9,
                color=color,
                mew=1.5 if marker == "|" else 0,
                label=label,
            )
            if marker == "o" and chosen.any():
                ax.plot(x[chosen], spread[chosen], "o", ms=9, mfc="none", mec=st.INK, mew=1, label="selected seed")
            drawn = True
        ax.set(xlabel="nats per cell (higher is better)", title=f"{split.capitalize()} cells")
        if not drawn:
            ax.text(0.5, 0.5, f"no {split} cells", ha="center", va="center", transform=ax.transAxes)
        ax.grid(axis="x", color="#EEEEEE")
    panels[0].set_yticks(range(len(names)), [st.shorten(n, 30) for n in names])
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    for ax in panels:
        ax.tick_params(axis="y", length=0)
    handles, labels = panels[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3)
    fig.suptitle(
        "Bars: ± 1 standard error over cells. "
        "Seeds are selected on validation cells, before any refit on them; test cells only judge.",
        fontsize=8,
    )
    return fig


def _offsets(models: pd.DataFrame, names: list[str]) -> np.ndarray:
    """Return the row of each run: one row per model, seeds spread a little around it."""
    y = np.zeros(len(models))
    for i, name in enumerate(names):
        rows = np.flatnonzero((models["model"].astype(str) == name).to_numpy())
        y[rows] = i + (np.linspace(-0.25, 0.25, len(rows)) if len(rows) > 1 else 0)
    return y


def _row(models: pd.DataFrame) -> float:
    """Return the height of a model's row in inches: enough for its seeds."""
    return max(0.42, 0.16 * int(models["model"].value_counts().max()))


def _training(histories: Mapping[Run, pd.DataFrame]) -> st.Figure:
    """ELBO on training and validation cells, the KL and its weight over the epochs, a row per model."""
    names = list(dict.fromkeys(model for model, _ in histories))
    if not names:
        return st.note("No training histories.")
    fig = st.figure(9.0, 0.5 + 2.1 * len(names))
    grid = fig.subplots(len(names), 2, squeeze=False, width_ratios=[1.5, 1])
    for row, name in zip(grid, names, strict=True):
        weight = row[1].twinx()
        weight.spines["right"].set_visible(True)
        weight.set_ylim(0, 1.05)
        weight.set_ylabel("KL weight", color=st.ORANGE)
        for (model, seed), history in histories.items():
            if model != name:
                continue
            epoch = history["epoch"] if "epoch" in history else np.arange(1, len(history) + 1)
            first = seed == next(s for m, s in histories if m == name)
            for column, color, label in (
                ("train_elbo", st.GREY, "training cells"),
                ("validation_elbo", st.BLUE, "validation cells"),
            ):
                if column in history and history[column].notna().any():
                    row[0].plot(epoch, history[column], color=color, lw=1.2, label=label if first else None)
            if "validation_elbo" in history and history["validation_elbo"].notna().any():
                best = int(history["validation_elbo"].to_numpy(dtype=float).argmax())
                row[0].plot(
                    np.asarray(epoch)[best],
                    history["validation_elbo"].iloc[best],
                    "o",
                    ms=4.5,
                    color=st.VERMILLION,
                    label="best" if first else None,
                )
            if "kl" in history:
                row[1].plot(epoch, history["kl"], color=st.BLUE, lw=1.2)
            if "kl_weight" in history:
                weight.plot(epoch, history["kl_weight"], color=st.ORANGE, lw=1.2)
        _zoom(row[0])
        seeds = sum(model == name for model, _ in histories)
        row[0].set_title(f"{st.shorten(name, 40)} ({seeds} seed{'s' if seeds > 1 else ''})")
        row[0].set(ylabel="ELBO (nats per cell)", xlabel="epoch")
        row[1].set(xlabel="epoch", ylim=(0, None))
        row[1].set_ylabel("KL (nats per cell)", color=st.BLUE)
        row[0].legend(loc="lower right")
    return fig


def _zoom(ax: Axes) -> None:
    """Leave the steep first epochs out of the frame: what matters is at the end."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.get_lines()] or [np.zeros(1)])
    values = values[np.isfinite(values)]
    if len(values) < 10:
        return
    top = values.max()
    bottom = np.quantile(values, 0.1)
    ax.set_ylim(bottom - 0.1 * (top - bottom), top + 0.08 * (top - bottom))


def _cell_cycle(models: pd.DataFrame) -> st.Figure:
    """Draw the best single axis for the S and for the G2/M score, next to the second best."""
    names = _names(models)
    fig = st.figure(8.4, 1.6 + _row(models) * len(names))
    panels = fig.subplots(1, 2, sharey=True)
    y = _offsets(models, names)
    for ax, phase in zip(panels, ("S", "G2M"), strict=True):
        if f"best_mi_{phase}" not in models:
            ax.axis("off")
            continue
        best = models[f"best_mi_{phase}"].to_numpy(dtype=float)
        second = models[f"second_mi_{phase}"].to_numpy(dtype=float)
        ax.hlines(y, second, best, color=st.PALE, lw=3)
        ax.plot(best, y, "o", ms=5, color=st.PHASE_COLORS[phase], label="best axis")
        ax.plot(second, y, "|", ms=9, mew=1.5, color=st.GREY, label="second best axis")
        for value, at, axis, rho in zip(
            best, y, models[f"best_axis_{phase}"], models[f"best_spearman_{phase}"], strict=True
        ):
            if np.isfinite(value):
                ax.annotate(
                    f" {axis}, best |ρ| {rho:.2f}",
                    (value, at),
                    xytext=(4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=6,
                )
        ax.set(
            xlabel="mutual information (nats)",
            title=f"{st.PHASE_LABELS[phase]} score on one axis",
            xlim=(0, max(0.1, 1.45 * np.nanmax(best))),
        )
        handles, labels = ax.get_legend_handles_labels()
        if phase == "S":
            fig.legend(handles, labels, loc="outside lower left", ncols=2)
        else:
            fig.legend(handles, labels, loc="outside lower right", ncols=2)
    panels[0].set_yticks(range(len(names)), [st.shorten(n, 30) for n in names])
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    panels[0].tick_params(axis="y", length=0)
    return fig
