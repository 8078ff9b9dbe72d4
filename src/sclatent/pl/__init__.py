"""Figures: each function returns matplotlib figures, or writes one self-contained HTML page."""

from sclatent._lazy import attach

__getattr__, __all__ = attach(
    __name__,
    {
        "qc": "_qc",
        "save": "_save",
        "cycle": "_cycle",
        "axes": "_axes.figures",
        "traversals": "_traversals",
        "knob": "_knob",
        "models": "_models",
        "samples": "_samples.figures",
        "gradient_variance": "_gradient_variance",
        "gradient_noise": "_gradient_variance",
        "page": "_page.write",
    },
)
