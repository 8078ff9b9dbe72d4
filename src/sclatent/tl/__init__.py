"""What is asked of counts and of a trained model: pure functions on arrays under a thin AnnData layer."""

from sclatent._lazy import attach

__getattr__, __all__ = attach(
    __name__,
    {
        # cell cycle
        "cycle": "_cycle",
        # model
        "TrainedModel": "_train",
        "train": "_train",
        "inputs": "_inputs",
        "embed": "_embed",
        "evaluate": "_evaluate",
        "calibration": "_calibration",
        "select": "_select",
        "compare": "_compare",
        "map": "_map",
        # axes
        "annotate": "_annotate",
        "axis_gap": "_disentangle",
        "disentanglement": "_disentangle",
        "enrich": "_enrichment",
        "mutual_information_gap": "_disentangle",
        "mixing": "_mixing",
        "stability": "_stability",
        # other cells, other batches
        "decode": "_query",
        "query": "_query",
        # paths
        "traverse": "_traverse",
        "knob": "_knob",
        "neutralize": "_neutralize",
        "set_phase": "_neutralize",
    },
)
