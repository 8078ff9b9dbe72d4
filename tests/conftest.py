"""What all tests share: where real data is, small simulated data, settings from a few keys."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from anndata import AnnData

    from sclatent.settings import DatasetSettings

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the root of the project."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder with real count data, or skip: it is not part of the repository."""
    named = os.environ.get("SCLATENT_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real count data at {folder} (set SCLATENT_TEST_DATA)")
    return folder


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    """Return each device that a model trains on in turn; skip what this machine lacks."""
    import torch

    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    return request.param


@pytest.fixture(scope="session")
def _simulated() -> AnnData:
    from sclatent.data import simulate

    return simulate(300, 200, seed=1)


@pytest.fixture
def simulated(_simulated: AnnData) -> AnnData:
    """Return 300 simulated cells × 200 genes with truth, a copy that the test may change."""
    return _simulated.copy()


@pytest.fixture(scope="session")
def make_settings() -> Callable[..., DatasetSettings]:
    """Return a function from keys of a dataset file to settings; ``counts`` may be left out."""
    from sclatent.settings import DatasetSettings

    def make(**keys: Any) -> DatasetSettings:
        return DatasetSettings.model_validate({"name": "test", "file": "test.yaml", "counts": "-", **keys})

    return make
