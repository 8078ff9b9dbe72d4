"""The kinds of objective that come with the package: importing this makes all of them known."""

from sclatent.model.objective import OBJECTIVES
from sclatent.model.objectives import score_function, sticking, weighted  # noqa: F401  they register themselves

__all__ = ["OBJECTIVES"]
