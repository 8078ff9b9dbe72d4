"""What the model does not know is refused in one line, never taken for something else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from sclatent.model import CountData, CountVAE
from sclatent.model.rotation import rotate_axes
from sclatent.model.vae import DECODERS
from sclatent.settings import InputError, ModelSettings
from sclatent.settings.registry import Registry

SMALL = ModelSettings(n_latent=2, n_hidden=8)


@pytest.mark.parametrize(
    ("unknown", "more", "said"),
    [
        ({"likelihood": "gamma"}, {}, "likelihood: no kind 'gamma'"),
        ({"likelihood": "nbb"}, {}, r"no kind 'nbb' \(did you mean 'nb'\?\)"),
        ({"likelihood": ""}, {}, "known are poisson, nb"),
        ({"dispersion": "cell"}, {}, "dispersion: no kind 'cell'"),
        ({"decoder": "tree"}, {}, "decoder: no kind 'tree'"),
        ({"pooling": "max"}, {"decoder": "additive"}, "pooling: no kind 'max'"),
    ],
)
def test_unknown_kinds_of_a_model(unknown: dict, more: dict, said: str) -> None:
    """Not checked by the settings, as those of a newer version or of a notebook are."""
    with pytest.raises(InputError, match=said) as caught:
        CountVAE(5, SMALL.model_copy(update=more | unknown))
    assert "\n" not in str(caught.value)


def test_an_unknown_rotation() -> None:
    data = CountData(csr_matrix(np.ones((4, 5), np.float32)), np.full(4, 5.0))
    with pytest.raises(InputError, match=r"rotate: no kind 'icaa' \(did you mean 'ica'\?\)"):
        rotate_axes(CountVAE(5, SMALL), data, np.arange(4), "icaa")


def test_a_registry_names_what_it_knows_and_replaces_nothing() -> None:
    kinds: Registry[int] = Registry("shape")
    kinds.add("round", 1)
    assert kinds["round"] == 1
    assert list(kinds) == ["round"]
    with pytest.raises(InputError, match=r"shape: no kind 'rund' \(did you mean 'round'\?\): known are round"):
        kinds["rund"]
    with pytest.raises(ValueError, match="shape: 'round' is taken"):
        kinds.add("round", 2)
    with pytest.raises(ValueError, match="decoder: 'mlp' is taken"):
        DECODERS.add("mlp", lambda *a: None)
