"""The version of every stage.

A rule passes the number of its stage as a param, so raising it re-runs that stage, and what follows, for everybody.
Raise it when a change of the library changes what the stage writes: changed library code alone re-runs nothing.
"""

VERSIONS: dict[str, int] = {
    "demo_counts": 1,
    "read": 5,
    "check": 3,
    "check_given": 1,
    "prepare": 5,
    "cycle": 13,
    "plot_cells": 7,
    "train": 14,
    "embed": 3,
    "evaluate": 4,
    "annotate": 5,
    "select": 4,
    "map": 3,
    "knob": 7,
    "traverse": 4,
    "sample": 5,
    "bundle_samples": 1,
    "check_samples": 3,
    "plot_model": 9,
    "export": 4,
    "bundle": 2,
    "page": 6,
    "compare": 3,
    "plot_models": 4,
    "gradients": 2,
    "plot_gradients": 3,
}
