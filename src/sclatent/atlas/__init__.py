"""The exported AnnData: what the stages wrote, joined, ready for scanpy."""

from sclatent._lazy import attach

__getattr__, __all__ = attach(__name__, {"build": "_build", "build_mudata": "_mudata", "to_mudata": "_mudata"})
