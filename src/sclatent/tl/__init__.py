"""What is asked of counts and of a trained model: pure functions on arrays under a thin AnnData layer."""

from sclatent._lazy import attach

__getattr__, __all__ = attach(
    __name__,
    {
        # cell cycle
        "cycle": "_cycle.stage",
        # model
        "TrainedModel": "_model.train",
        "train": "_model.train",
        "inputs": "_model.inputs",
        "embed": "_model.embed",
        "evaluate": "_model.evaluate",
        "impute": "_modalities.impute",
        "refine": "_model.refine",
        "gradient_variance": "_gradients.variance",
        "gradient_noise": "_gradients.noise",
        "calibration": "_model.calibration",
        "select": "_model.select",
        "compare": "_model.compare",
        "map": "_map.map",
        # axes
        "annotate": "_axes.annotate",
        "axis_gap": "_axes.disentangle",
        "disentanglement": "_axes.disentangle",
        "enrich": "_axes.enrichment",
        "mutual_information_gap": "_axes.disentangle",
        "mixing": "_axes.mixing",
        "stability": "_axes.stability",
        # other cells, other batches
        "decode": "_model.query",
        "query": "_model.query",
        # a mechanism behind counts
        "kinetics": "_kinetics.stage",
        # paths
        "traverse": "_paths.traverse",
        "knob": "_paths.knob",
        "neutralize": "_paths.neutralize",
        "set_phase": "_paths.neutralize",
        # cells drawn from the model
        "Density": "_samples.density",
        "density": "_samples.density",
        "sample": "_samples.sample",
        "check_samples": "_samples.judge",
        "counterfactual": "_samples.counterfactual",
    },
)
