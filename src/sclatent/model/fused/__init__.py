"""One training step of the default model in one compiled call.

This is the only entry point. Without this folder all training uses autograd.
"""

from sclatent.model.fused.buffers import Counts
from sclatent.model.fused.compiled import CompiledStep, compiles, prepare

__all__ = ["CompiledStep", "Counts", "compiles", "prepare"]
