"""Noise in four ways: always standard normal, and coupled as asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from sclatent.model.noise import WAYS, standard_normal
from sclatent.settings import ModelSettings


def drawn(way: str, draws: int = 8, cells: int = 4000, n: int = 3) -> torch.Tensor:
    return standard_normal(way, (draws, cells, n), torch.Generator().manual_seed(1))


@pytest.mark.parametrize("way", WAYS)
def test_each_number_is_standard_normal_and_cells_and_axes_are_independent(way: str) -> None:
    eps = drawn(way)
    assert eps.shape == (8, 4000, 3)
    assert eps.dtype == torch.float32
    for draw in (0, 5):
        for axis in range(3):
            assert stats.kstest(eps[draw, :, axis].numpy(), "norm").pvalue > 1e-3
        assert np.abs(np.corrcoef(eps[draw].numpy().T) - np.eye(3)).max() < 0.07
    assert abs(np.corrcoef(eps[0, :-1, 0], eps[0, 1:, 0])[0, 1]) < 0.07


def test_how_draws_go_together() -> None:
    eps = drawn("antithetic")
    assert torch.equal(eps[:4], -eps[4:])
    strata = (torch.special.ndtr(drawn("stratified").double()) * 8).long().sort(0).values
    assert torch.equal(strata, torch.arange(8)[:, None, None].expand_as(strata))
    places = torch.special.ndtr(drawn("sobol").double()).sort(0).values
    assert float((places[1:] - places[:-1] - 1 / 8).abs().max()) < 1e-5


def test_the_mean_over_draws_is_steadier() -> None:
    """Of a smooth function of one axis, all three ways beat independent draws; antithetic only the odd part."""
    spread = {way: float((drawn(way) + 0.2 * drawn(way) ** 2).mean(0).var()) for way in WAYS}
    assert max(spread["antithetic"], spread["stratified"], spread["sobol"]) < 0.4 * spread["independent"]
    assert spread["stratified"] < 0.6 * spread["antithetic"]


def test_no_numbers_and_the_same_numbers() -> None:
    for way in WAYS:
        assert drawn(way, n=0).shape == (8, 4000, 0)
        assert torch.equal(drawn(way, cells=5), drawn(way, cells=5))
        assert torch.isfinite(drawn(way, draws=256, cells=400)).all()


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ({"noise": "antithetic", "draws": 3}, "antithetic noise comes in pairs, found draws: 3"),
        ({"noise": "antithetic"}, "antithetic noise comes in pairs, found draws: 1"),
        ({"noise": "stratified"}, "stratified noise couples several draws, found draws: 1"),
        ({"noise": "sobol", "draws": 6}, "sobol noise needs 2, 4, 8, … draws, found 6"),
        ({"noise": "halton", "draws": 6}, "should be 'independent', 'antithetic', 'stratified' or 'sobol'"),
        ({"draws": 0}, "greater than or equal to 1"),
    ],
)
def test_what_does_not_go_together(objective: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ModelSettings(objective={"kind": "elbo", **objective})
