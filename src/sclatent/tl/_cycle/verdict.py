"""The verdict on the cycle, and the sentence that goes with it: the same words wherever they are read."""

from __future__ import annotations

from sclatent.tl._cycle.evidence import ALPHA, FOLD, PART_ALPHA, Evidence
from sclatent.tl._cycle.fit import MIN_STATE

CYCLE, PART, NO_CYCLE = "cycle", "part of a cycle", "no cycle"

NAMES = {"S": "S", "G2M": "G2/M"}
OTHERS = {"S": "G1 and G2/M", "G2M": "G1 and S"}


def judge(evidence: Evidence, cycling: float, n: int) -> tuple[str, str]:
    """Return the verdict, and one sentence: why there is no cycle, or what is not known of it; empty with a cycle.

    Parameters
    ----------
    evidence
        What the listed genes say.
    cycling, n
        Expected number of cycling cells, and number of cells.
    """
    apart = f"p = {evidence.apart['S']:.2g} for the S, {evidence.apart['G2M']:.2g} for the G2/M genes"
    if not evidence.ends:
        alone = " and ".join(f"{evidence.alone[name]:.2g}" for name in ("S", "G2M"))
        if max(evidence.apart.values()) < ALPHA:
            return NO_CYCLE, (
                f"the S and G2/M genes part along a common angle ({apart}), but they hardly change: cells of one phase "
                f"only ({_folds(evidence)})"
            )
        return NO_CYCLE, (
            f"the S and G2/M genes do not part along a common angle better than {evidence.null} would ({apart}; below "
            f"{ALPHA} is needed of both), and neither list alone stands out (p = {alone}; below {PART_ALPHA:.0e} is "
            "needed)"
        )
    if cycling < MIN_STATE:
        return NO_CYCLE, f"hardly a cell cycles: {cycling:.1f} of {n} expected, at least {MIN_STATE} are needed"
    if len(evidence.ends) == 2:
        return CYCLE, ""
    name = evidence.ends[0]
    if max(evidence.apart.values()) < ALPHA:
        hardly = f"the two lists part ({apart}), but their genes hardly change ({_folds(evidence)})"
        seen = f"{hardly}: {_alone(evidence, name)}"
    elif evidence.alone[name] < PART_ALPHA:
        seen = f"{_alone(evidence, name)} and the two lists do not part ({apart}; below {ALPHA} is needed of both)"
    else:
        seen = (
            f"only the {NAMES[name]} genes surely part from the other list ({apart}; below {ALPHA} is needed of both)"
        )
    return PART, f"{seen}, so it is not known where {OTHERS[name]} meet, nor which way round the angle runs"


def _alone(evidence: Evidence, name: str) -> str:
    return f"only the {NAMES[name]} genes stand out (p = {evidence.alone[name]:.2g})"


def _folds(evidence: Evidence) -> str:
    return f"{evidence.fold['S']:.2f}-fold and {evidence.fold['G2M']:.2f}-fold; {FOLD} is needed of one"
