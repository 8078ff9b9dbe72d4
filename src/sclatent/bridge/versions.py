"""The version of every stage.

A rule passes the number of its stage as a param, so raising it re-runs that stage, and what follows, for everybody.
Raise it when a change of the library changes what the stage writes: changed library code alone re-runs nothing.
"""

VERSIONS: dict[str, int] = {
    "demo_counts": 1,
    "read": 1,
    "check": 1,
    "prepare": 1,
    "plot_qc": 2,
    "cycle": 4,
    "plot_cycle": 2,
    "train": 6,
    "embed": 1,
    "evaluate": 2,
    "annotate": 1,
    "select": 1,
    "map": 1,
    "knob": 3,
    "traverse": 1,
    "plot_axes": 3,
    "plot_traversals": 1,
    "plot_knob": 2,
    "export": 1,
    "page": 1,
    "compare": 1,
    "plot_models": 1,
}
