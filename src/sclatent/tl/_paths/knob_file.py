"""What ``knob.h5ad`` holds: the path, and every cell seen from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sclatent.data import slots
from sclatent.data.blocks.dense import by_rows
from sclatent.settings import InputError
from sclatent.tl._paths.closed_path import ClosedPath

if TYPE_CHECKING:
    from anndata import AnnData

KNOB = "knob"
"""Key under ``uns["sclatent"]``."""
X_BASE = "X_sclatent_base"
"""obsm: every cell off the cycle; add the path at a phase to put it there."""
X_CYCLE = "X_sclatent_cycle"
"""obsm: the part of the posterior mean that is the cycle, 0 where the cell does not cycle."""
STRATUM = "knob_stratum"


def write_path(
    cycle: AnnData,
    path: ClosedPath | None,
    *,
    verdict: str,
    reason: str,
    phases: dict[str, float] | None = None,
    neutral: np.ndarray | None = None,
) -> AnnData:
    """Return ``knob.h5ad``; without a knob (`path` is None) it holds the verdict alone.

    `phases` are the angles that stand for G1, S and G2M, `neutral` the embedding (cells × axes) at that of G1.
    """
    import anndata as ad

    obs = cycle.obs[[slots.CYCLE_ANGLE, slots.CYCLE_SD, slots.CYCLING]].copy()
    out = ad.AnnData(obs=obs)
    entry: dict[str, Any] = {"verdict": verdict, "reason": reason, "is_knob": path is not None}
    if path is not None:
        out.obs[STRATUM] = path.strata
        out.obsm[slots.X_NEUTRAL] = _single(np.asarray(neutral))
        out.obsm[X_BASE] = _single(path.base)
        out.obsm[X_CYCLE] = _single(path.expected)
        entry |= {
            "coefficients": path.coefficients,
            "plane": path.plane,
            "strength": path.strength,
            "center": path.center,
            "phases": dict(phases or {}),
        }
    out.uns[slots.UNS] = {KNOB: entry}
    return out


def _single(array: np.ndarray) -> np.ndarray:
    return by_rows(len(array), lambda rows: array[rows].astype(np.float32), array)


def has_knob(knob: AnnData) -> bool:
    """Return whether ``knob.h5ad`` holds a knob."""
    return bool(knob.uns[slots.UNS][KNOB]["is_knob"])


def read_path(knob: AnnData) -> ClosedPath:
    """Return the path of ``knob.h5ad``.

    Raises
    ------
    InputError
        If the verdict is that there is no knob.
    """
    entry = knob.uns[slots.UNS][KNOB]
    if not has_knob(knob):
        raise InputError(f"there is no cell-cycle knob in this model: {entry['reason']}")
    return ClosedPath(
        coefficients=np.asarray(entry["coefficients"], dtype=np.float64),
        plane=np.asarray(entry["plane"], dtype=np.float64),
        strength=np.asarray(entry["strength"], dtype=np.float64),
        center=np.asarray(entry["center"], dtype=np.float64),
        base=np.asarray(knob.obsm[X_BASE]),
        expected=np.asarray(knob.obsm[X_CYCLE]),
        strata=knob.obs[STRATUM].to_numpy(dtype=np.int64),
    )


def named_phases(knob: AnnData) -> dict[str, Any]:
    """Return ``phases``, the angle of each named phase (none without a knob), and ``no_knob``, why there is none."""
    entry = knob.uns[slots.UNS][KNOB]
    if not has_knob(knob):
        return {"phases": {}, "no_knob": str(entry["reason"])}
    return {"phases": {str(name): float(angle) for name, angle in entry["phases"].items()}, "no_knob": ""}


def phase_angle(knob: AnnData, phase: float | str) -> float:
    """Return an angle in radians for an angle or the name of a phase; see `angle_of`."""
    return angle_of(named_phases(knob)["phases"], phase)


def angle_of(phases: Mapping[str, float], phase: float | str) -> float:
    """Return an angle in radians for an angle or the name of a phase.

    ``G1`` is where both decoded scores together are lowest, ``S`` and ``G2M`` where each is highest.

    Parameters
    ----------
    phases
        The angle of each name.
    phase
        A name, or radians.

    Raises
    ------
    InputError
        If the phase is neither a number nor one of the names.
    """
    if isinstance(phase, str):
        if phase not in phases:
            raise InputError(f"phase: '{phase}' is not known: use {', '.join(slots.PHASES)}, or an angle in radians")
        return float(phases[phase])
    if not np.isfinite(phase):
        raise InputError(f"phase: {phase} is not an angle")
    return float(np.mod(phase, 2 * np.pi))
