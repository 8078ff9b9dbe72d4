"""What counts share beyond the axes: found where it is, left out where it is not, and drawn again."""

from dataclasses import replace

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import sclatent as sl
from sclatent.model import LIKELIHOODS
from sclatent.model.parts.likelihood import Sizes
from sclatent.tl._samples.residual import draw_scores, factors, gain

N, GENES = 300, 120


def loadings(size: float = 0.7) -> np.ndarray:
    """Two factors: one that a third of the genes share, one of another third."""
    out = np.zeros((GENES, 2))
    out[:40, 0], out[40:80, 1] = size, -size
    return out


def test_factors_are_found_as_large_as_they_are():
    wanted = loadings()
    scores = draw_scores(wanted, N, np.random.default_rng(0))
    found = factors(scores)
    assert found.shape[1] == 2
    assert np.allclose(found @ found.T, wanted @ wanted.T, atol=0.15)
    others = draw_scores(wanted, N, np.random.default_rng(1))
    assert gain(others, found) > 0.9 * gain(others, wanted) > 5


def test_independent_scores_have_none():
    scores = np.random.default_rng(0).standard_normal((N, GENES))
    found = factors(scores)
    others = np.random.default_rng(1).standard_normal((N, GENES))
    assert found.shape[1] == 0 or gain(others, found) < 0
    assert gain(others, found[:, :0]) == 0


def test_one_odd_cell_makes_no_factor_that_held_out_cells_have():
    scores = np.random.default_rng(0).standard_normal((N, GENES))
    scores[7] = 4.0
    found = factors(scores)
    assert found.shape[1] >= 1
    assert gain(np.random.default_rng(1).standard_normal((N, GENES)), found) < 0


def test_the_gain_is_that_of_the_normal_densities():
    from scipy.stats import multivariate_normal

    wanted = loadings()
    scores = draw_scores(wanted, 20, np.random.default_rng(0))
    joint = wanted @ wanted.T
    np.fill_diagonal(joint, 1.0)
    zero = np.zeros(GENES)
    exact = multivariate_normal(zero, joint).logpdf(scores) - multivariate_normal(zero, np.eye(GENES)).logpdf(scores)
    assert gain(scores, wanted) == pytest.approx(exact.mean())


@pytest.mark.parametrize("kind", sorted(LIKELIHOODS))
def test_a_quantile_is_the_first_count_that_reaches_the_level(kind):
    import torch

    settings = LIKELIHOODS[kind].settings()
    likelihood = LIKELIHOODS[kind](Sizes(30, 3, ()), settings, torch.Generator().manual_seed(0))
    rng = np.random.default_rng(0)
    mu = np.exp(rng.normal(0.0, 3.0, (40, 30)))
    with torch.no_grad():
        shape = likelihood.shape(torch.zeros(40, 3), torch.zeros(40, 0, dtype=torch.int64))
    level = rng.random(mu.shape)
    level[0], level[1] = 1e-12, 1 - 1e-12
    found = likelihood.quantile(level, mu, **shape)
    assert (found >= 0).all()
    assert (found == np.floor(found)).all()
    assert (likelihood.cdf(found, mu, **shape) >= level).all()
    below = np.broadcast_to(likelihood.cdf(np.maximum(found - 1, 0), mu, **shape), mu.shape)
    assert (below[found > 0] < level[found > 0]).all()


@pytest.mark.parametrize("kind", sorted(LIKELIHOODS))
def test_counts_are_expected_to_sum_to_the_library_size(kind):
    import torch

    likelihood = LIKELIHOODS[kind](Sizes(30, 3, ()), LIKELIHOODS[kind].settings(), torch.Generator().manual_seed(0))
    rng = np.random.default_rng(0)
    mu = rng.dirichlet(np.full(30, 0.5), 40) * rng.uniform(1, 12, (40, 1))
    with torch.no_grad():
        code = torch.from_numpy(rng.normal(size=(40, 3)).astype(np.float32))
        shape = likelihood.shape(code, torch.zeros(40, 0, dtype=torch.int64))
    rate = likelihood.sized(mu, **shape)
    ratio = rate / mu
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-9)
    expected = {"zip": (1 - shape.get("gate", 0)) * rate, "zinb": (1 - shape.get("gate", 0)) * rate}
    mean = expected.get(kind, 1 - np.exp(-rate) if kind == "bernoulli" else rate)
    np.testing.assert_allclose(mean.sum(1), mu.sum(1), rtol=1e-3)
    if kind in ("poisson", "nb"):
        assert rate is mu
    else:
        assert (ratio > 1).all()


def world(shared: float, seed: int = 0) -> ad.AnnData:
    """Cells of one type; the genes of the last third go together."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(2.0, 2.0, GENES) * np.exp(rng.normal(0, 0.2, (500, GENES)))
    rate[:, 80:] *= np.exp(shared * rng.standard_normal((500, 1)))
    counts = sparse.csr_matrix(rng.poisson(rate), dtype=np.float32)
    cells = ad.AnnData(counts)
    cells.obs_names, cells.var_names = [f"c{i}" for i in range(500)], [f"g{i}" for i in range(GENES)]
    cells.obs["split"] = rng.permuted(np.repeat(["train", "validation", "test"], [350, 50, 100]))
    cells.obs["library_size"] = np.asarray(counts.sum(1)).ravel()
    cells.var["in_model"] = True
    return cells


def test_what_a_model_leaves_is_drawn_again(tmp_path):
    """A model that has learned next to nothing: all that genes share is left to the copula."""
    cells = world(0.6)
    model = {"n_latent": 1, "epochs": 1, "refit": False, "decoder": "linear", "likelihood": "poisson"}
    trained = sl.tl.train(cells, model=model)
    density = sl.tl.density(cells, trained)
    assert density.residual.shape[1] >= 1
    assert len(density.about["beyond_axes"]) > density.residual.shape[1]
    density.save(tmp_path / "density.npz")
    again = sl.tl.Density.load(tmp_path / "density.npz")
    assert np.array_equal(again.residual, density.residual)

    def share(counts) -> float:
        """Mean correlation of the genes that go together."""
        together = np.corrcoef(counts.toarray()[:, 80:].T)
        return float(together[np.triu_indices(40, 1)].mean())

    drawn = sl.tl.sample(trained, 500, density=density)
    apart = sl.tl.sample(trained, 500, density=replace(density, residual=density.residual[:, :0]))
    # what library sizes share is in both
    assert share(apart.X) < 0.5 * share(cells.X)
    assert 1.5 * share(apart.X) < share(drawn.X) < share(cells.X)
    assert np.allclose(drawn.X.toarray().mean(0), apart.X.toarray().mean(0), rtol=0.2, atol=0.2)
