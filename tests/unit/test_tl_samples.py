"""Cells drawn from a model: from the density of its cells, from the prior, set somewhere, and what is refused."""

import anndata as ad
import numpy as np
import pytest
import torch
from scipy import sparse, stats

import sclatent as sl
from sclatent.data import simulate
from sclatent.model import LATENTS, CountVAE
from sclatent.settings import InputError, ModelSettings
from sclatent.tl._samples.mixture import fit_mixture
from sclatent.tl._samples.scores import fit_scores


def cells(n: int = 600, seed: int = 0):
    adata = simulate(n_cells=n, n_genes=150, median_library=3000, seed=seed)
    rng = np.random.default_rng(seed)
    adata.obs["split"] = rng.permuted(np.repeat(["train", "validation", "test"], [n - n // 4, n // 8, n // 4 - n // 8]))
    adata.obs["age"] = rng.normal(50, 10, n)
    adata.var["in_model"] = True
    # the libraries of one batch are a third of those of the other
    second = (adata.obs["batch"] == "batch2").to_numpy()
    counts = adata.X.toarray()
    counts[second] = rng.binomial(counts[second].astype(int), 1 / 3)
    adata.X = sparse.csr_matrix(counts, dtype=np.float32)
    adata.obs["library_size"] = np.asarray(adata.X.sum(axis=1)).ravel()
    return adata


@pytest.fixture(scope="module")
def trained():
    adata = cells()
    how = {"decoder": "linear", "n_latent": 4, "epochs": 40, "batch_size": 64}
    return adata, sl.tl.train(adata, batch="batch", covariates="age", model=how)


@pytest.fixture(scope="module")
def density(trained):
    return sl.tl.density(*trained)


def untrained(latent, likelihood: str = "nb", n_axes: int = 4) -> sl.tl.TrainedModel:
    settings = ModelSettings(latent=latent, likelihood=likelihood, n_latent=n_axes, n_hidden=16)
    vae = CountVAE(30, settings, n_levels=(2,), seed=0)
    card = {
        "genes": [f"g{k}" for k in range(30)],
        "batch": ["batch"],
        "levels": [["a", "b"]],
        **{key: [] for key in ("covariates", "centre", "scale")},
        "rest": False,
        "model": "m",
        "seed": 0,
        "versions": {},
    }
    return sl.tl.TrainedModel(vae.eval(), card, None)


def few(n: int = 40):
    rng = np.random.default_rng(0)
    adata = ad.AnnData(sparse.csr_matrix(rng.poisson(2.0, (n, 30)), dtype=np.float32))
    adata.var_names = [f"g{k}" for k in range(30)]
    adata.obs["batch"] = np.where(np.arange(n) % 2, "a", "b")
    return adata


def test_drawn_cells_are_whole_numbers_and_say_where_they_come_from(trained, density):
    adata, model = trained
    drawn = sl.tl.sample(model, 1500, density=density, seed=3)
    assert drawn.shape == (1500, 150)
    assert drawn.X.dtype == np.float32
    assert (drawn.X.data == np.round(drawn.X.data)).all()
    assert drawn.X.data.min() > 0
    assert list(drawn.var_names) == model.card["genes"]
    assert drawn.obs_names.is_unique
    about = drawn.uns["sclatent"]["sample_of_model"]
    assert about["n"] == 1500
    assert about["seed"] == 3
    assert about["where"] == "density of the cells"
    assert "not measured" in about["what"]
    fit_to = adata[adata.obs["split"] != "test"]
    assert about["cells"] == fit_to.n_obs
    # what stands beside the axes is distributed as among the cells
    share = (drawn.obs["batch"] == "batch1").mean()
    assert share == pytest.approx((fit_to.obs["batch"] == "batch1").mean(), abs=0.06)
    for batch in ("batch1", "batch2"):
        real = fit_to.obs["library_size"][fit_to.obs["batch"] == batch]
        assert stats.ks_2samp(drawn.obs["library_size"][drawn.obs["batch"] == batch], real).statistic < 0.1
    assert stats.ks_2samp(drawn.obs["age"], fit_to.obs["age"]).statistic < 0.1
    total = np.asarray(drawn.X.sum(1)).ravel()
    assert np.corrcoef(np.log(total), np.log(drawn.obs["library_size"]))[0, 1] > 0.97


def test_drawn_cells_open_in_scanpy_from_a_file(trained, density, tmp_path):
    import scanpy as sc

    drawn = sl.tl.sample(trained[1], 60, density=density, given={"age": 40}, axis={"axis_1": 1.0})
    sl.io.write_h5ad(drawn, tmp_path / "samples.h5ad")
    again = sc.read_h5ad(tmp_path / "samples.h5ad")
    assert again.uns["sclatent"]["sample_of_model"]["given"]["age"] == 40
    sc.pp.normalize_total(again)
    sc.pp.log1p(again)
    sc.pp.pca(again, n_comps=5)
    assert (again.X.data > 0).all()


def test_the_same_seed_draws_the_same_cells(trained, density):
    model = trained[1]
    first, again, other = (sl.tl.sample(model, 1100, density=density, seed=seed) for seed in (1, 1, 2))
    assert (first.X != again.X).nnz == 0
    assert (first.X != other.X).nnz > 0
    np.testing.assert_array_equal(first.obsm["X_sclatent"], again.obsm["X_sclatent"])
    twice = sl.tl.density(*trained)
    assert (sl.tl.sample(model, 50, density=twice).X != sl.tl.sample(model, 50, density=density).X).nnz == 0


def test_a_saved_density_draws_the_same_cells_and_the_same_bytes(trained, density, tmp_path):
    density.save(tmp_path / "a.npz")
    density.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = sl.tl.Density.load(tmp_path / "a.npz")
    assert again.about == density.about
    first, second = (sl.tl.sample(trained[1], 70, density=one, seed=5) for one in (density, again))
    assert (first.X != second.X).nnz == 0


def test_cells_as_if_from_another_batch_have_its_library_sizes(trained, density):
    adata, model = trained
    drawn = {b: sl.tl.sample(model, 800, density=density, given={"batch": b}, seed=1) for b in ("batch1", "batch2")}
    for batch, one in drawn.items():
        assert set(one.obs["batch"]) == {batch}
        real = adata.obs["library_size"][(adata.obs["batch"] == batch) & (adata.obs["split"] != "test")]
        assert np.log(one.obs["library_size"]).median() == pytest.approx(np.log(real).median(), abs=0.1)
    # the same cells, measured otherwise
    np.testing.assert_array_equal(drawn["batch1"].obsm["X_sclatent"], drawn["batch2"].obsm["X_sclatent"])
    rate = {b: np.asarray(one.X.sum(0)).ravel() / one.X.sum() for b, one in drawn.items()}
    change = np.log(rate["batch1"] / rate["batch2"])
    truth = adata.varm["simulated_batch"] @ np.array([1.0, -1.0])
    assert np.corrcoef(change, truth)[0, 1] > 0.6
    older = sl.tl.sample(model, 30, density=density, given={"age": "71"})
    np.testing.assert_allclose(older.obs["age"], 71)


def test_axes_and_libraries_can_be_set(trained, density):
    model = trained[1]
    drawn = sl.tl.sample(model, 40, density=density, axis={"axis_2": -1.5}, library=2000, seed=1)
    np.testing.assert_allclose(drawn.obsm["X_sclatent"][:, 1], -1.5)
    assert drawn.obsm["X_sclatent"][:, 0].std() > 0
    np.testing.assert_allclose(drawn.obs["library_size"], 2000)
    sizes = np.arange(1, 41) * 100.0
    np.testing.assert_allclose(sl.tl.sample(model, 40, density=density, library=sizes).obs["library_size"], sizes)


def test_the_prior_needs_no_density(trained, density):
    model = trained[1]
    drawn = sl.tl.sample(model, 2000, library=500, seed=1)
    z = drawn.obsm["X_sclatent"]
    assert abs(z.mean(0)).max() < 0.1
    assert abs(z.std(0) - 1).max() < 0.1
    assert drawn.obs["batch"].isna().all(), "the average of the levels"
    assert drawn.uns["sclatent"]["sample_of_model"]["where"] == "prior"
    other = sl.tl.sample(model, 300, density=density, prior=True)
    assert set(other.obs["batch"]) == {"batch1", "batch2"}


@pytest.mark.parametrize("kind", [kind for kind in LATENTS if kind not in ("point", "mixture", "blocks")])
def test_every_prior_is_the_posterior_of_a_cell_that_was_not_looked_at(kind):
    latent, noise = untrained(kind).vae.latent, torch.Generator().manual_seed(0)
    prior = latent.unseen(3, torch.zeros(1), noise)
    code = prior.sample(torch.randn((400, 3, latent.n_noise), generator=noise))
    assert code.shape == (400, 3, latent.n_code)
    np.testing.assert_allclose(prior.log_q(code), prior.log_prior(code), atol=2e-3)
    np.testing.assert_allclose(prior.kl().sum(-1), 0, atol=1e-4)


def test_a_prior_of_states_draws_the_states_by_their_weight():
    model = untrained("mixture")
    prior = model.vae.latent.prior
    with torch.no_grad():
        prior.logits.copy_(torch.tensor([np.log(3.0), 0.0] + [-20.0] * (len(prior.logits) - 2)))
        prior.centres[:2] = torch.tensor([[9.0], [-9.0]])
        prior.log_sd.fill_(np.log(0.5))
    z = model.vae.prior_draws(4000, seed=1)
    assert (z[:, 0] > 0).mean() == pytest.approx(0.75, abs=0.03)
    np.testing.assert_allclose(z[z[:, 0] > 0].mean(0), 9, atol=0.05)
    np.testing.assert_allclose(z[z[:, 0] > 0].std(0), 0.5, atol=0.03)


@pytest.mark.parametrize("kind", list(LATENTS))
def test_every_latent_draws_cells(kind):
    model = untrained(kind)
    density = sl.tl.density(few(), model)
    drawn = sl.tl.sample(model, 25, density=density, axis={"axis_1": 0.5})
    z = drawn.obsm["X_sclatent"]
    assert drawn.X.shape == (25, 30)
    assert np.isfinite(z).all()
    if kind in ("dirichlet", "logistic-normal", "states"):
        np.testing.assert_allclose(z.sum(1), 1, atol=1e-5)
    elif kind in ("lognormal", "exponential", "gamma", "beta"):
        assert (z > 0).all()
    np.testing.assert_allclose(z[:, 0], 0.5, atol=1e-5)


def test_blocks_draw_each_as_its_kind():
    model = untrained({"gaussian": 2, "gamma": 2})
    assert not model.vae.latent.unbounded
    z = sl.tl.sample(model, 500, library=100, seed=1).obsm["X_sclatent"]
    assert z[:, :2].min() < -1
    assert z[:, 2:].min() > 0
    assert z[:, 2:].mean() == pytest.approx(1, abs=0.15)
    assert untrained({"gaussian": 2, "point": 2}).vae.prior_draws(5) is None


@pytest.mark.parametrize("kind", ["poisson", "nb", "zip", "zinb", "bernoulli"])
def test_every_likelihood_draws_counts(kind):
    drawn = sl.tl.sample(untrained("gaussian", kind), 200, library=60.0, seed=2)
    assert (drawn.X.data == np.round(drawn.X.data)).all()
    if kind == "bernoulli":
        assert drawn.X.max() == 1
    if kind != "bernoulli":  # no more than 30 genes can be present
        assert drawn.X.sum(1).mean() == pytest.approx(60, rel=0.1)
    few = sl.tl.sample(untrained("gaussian", kind), 400, library=12.0, seed=2)
    assert few.X.sum(1).mean() == pytest.approx(12, rel=0.1)


def with_knob(model, adata):
    """Return a knob file whose path goes through made-up angles of the cells."""
    from sclatent.tl._paths.closed_path import fit_path
    from sclatent.tl._paths.knob_file import write_path
    from sclatent.tl._paths.space import space_of_model

    means = space_of_model(model.vae).means(sl.tl.embed(adata, model))
    angle = np.arctan2(means[:, 1] - means[:, 1].mean(), means[:, 0] - means[:, 0].mean()) % (2 * np.pi)
    on = np.arange(len(means)) % 4 > 0
    cycle = ad.AnnData(obs=adata.obs[[]].copy())
    cycle.obs["cycle_angle"], cycle.obs["cycle_sd"], cycle.obs["cycling"] = np.where(on, angle, np.nan), 0.2, on
    path = fit_path(means, angle, np.full(len(means), 0.2), on)
    phases = {"G1": 0.3, "S": 2.0, "G2M": 4.0}
    neutral = np.zeros_like(means)
    return path, write_path(cycle, path, verdict="cell-cycle knob", reason="", phases=phases, neutral=neutral), cycle


def test_a_phase_goes_through_the_path_of_the_knob(tmp_path):
    model, adata = untrained("gaussian"), few(300)
    path, knob, _ = with_knob(model, adata)
    density = sl.tl.density(adata, model, knob=knob)
    at = {phase: sl.tl.sample(model, 200, density=density, phase=phase, seed=1) for phase in ("S", "G2M", 2.0)}
    moved = at["S"].obsm["X_sclatent"] - at["G2M"].obsm["X_sclatent"]
    np.testing.assert_allclose(moved, np.tile(path.at(2.0) - path.at(4.0), (200, 1)), atol=1e-4)
    np.testing.assert_allclose(at["S"].obsm["X_sclatent"], at[2.0].obsm["X_sclatent"])
    density.save(tmp_path / "d.npz")
    again = sl.tl.sample(model, 200, density=sl.tl.Density.load(tmp_path / "d.npz"), phase="S", seed=1)
    np.testing.assert_array_equal(again.obsm["X_sclatent"], at["S"].obsm["X_sclatent"])
    # without a phase cells lie where cells lie, the cycle included
    assert not np.allclose(
        sl.tl.sample(model, 200, density=density, seed=1).obsm["X_sclatent"], at["S"].obsm["X_sclatent"]
    )
    with pytest.raises(InputError, match="phase: 'M' is not known: use G1, S, G2M"):
        sl.tl.sample(model, 5, density=density, phase="M")


@pytest.mark.parametrize("latent", [{"circle": 1, "gaussian": 2}, "lognormal", "dirichlet"])
def test_a_phase_leads_to_where_cells_can_be(latent):
    from sclatent.tl._paths.space import space_of_model

    model, adata = untrained(latent, n_axes=3), few(300)
    path, knob, _ = with_knob(model, adata)
    density = sl.tl.density(adata, model, knob=knob)
    assert density.path.shape == path.coefficients.shape
    z = sl.tl.sample(model, 200, density=density, phase="S", seed=1).obsm["X_sclatent"].astype(float)
    assert z.shape == (200, 3)
    np.testing.assert_allclose(model.vae.latent.nearest(z), z, atol=1e-6)
    # each is a cell without the cycle, put on the path
    space = space_of_model(model.vae)
    points = density.off_cycle.points.points.reshape(-1, space.size + 1)[:, : space.size]
    known = space.axes(points + path.at(2.0))
    assert np.abs(z[:, None] - known[None]).max(axis=2).min(axis=1).max() < 1e-4
    with pytest.raises(InputError, match="density is of another model"):
        sl.tl.sample(untrained("gaussian", n_axes=5), 5, density=density, phase="S")


def test_a_phase_without_a_knob_is_one_line():
    from sclatent.tl._paths.knob_file import write_path

    model, adata = untrained("gaussian"), few(60)
    cycle = with_knob(model, adata)[2]
    knob = write_path(cycle, None, verdict="no cell-cycle knob", reason="too few cells cycle")
    density = sl.tl.density(adata, model, knob=knob)
    assert sl.tl.sample(model, 5, density=density).n_obs == 5
    with pytest.raises(InputError, match="there is no cell-cycle knob in this model: too few cells cycle"):
        sl.tl.sample(model, 5, density=density, phase="S")
    with pytest.raises(InputError, match="holds other cells than the counts"):
        sl.tl.density(adata[:50].copy(), model, knob=knob)


def test_a_latent_without_a_prior_is_one_line():
    with pytest.raises(InputError, match="latent: point has no prior to draw from"):
        sl.tl.sample(untrained("point"), 5, library=10)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"n": 0}, "n: expected a whole number above 0, found 0"),
        ({"n": 2.5}, "n: expected a whole number, found 2.5"),
        ({"given": {"batch": "batch3"}}, r"column 'batch' has no level 'batch3' \(did you mean 'batch"),
        (
            {"given": {"bach": "batch1"}},
            r"not conditioned on 'bach' \(did you mean 'batch'\?\): it is conditioned on batch, age",
        ),
        ({"given": {"age": "old"}}, "column 'age' holds numbers, found 'old'"),
        ({"axis": {"axis_5": 1.0}}, r"the model has no 'axis_5' .*its axes are axis_1 to axis_4"),
        ({"axis": {"axis_1": float("nan")}}, "axis_1: expected a number, found nan"),
        ({"phase": "S"}, "fitted without the knob"),
        ({"phase": "S", "prior": True}, "the prior has no cell cycle"),
        ({"library": -3}, "expected numbers above 0, found -3"),
        ({"library": [1.0, 2.0]}, "a number, or one for each of the 10 cells"),
        ({"density": None}, "without a density nothing is known of library sizes"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(trained, density, keys, said):
    with pytest.raises(InputError, match=said) as caught:
        sl.tl.sample(trained[1], **{"n": 10, "density": density, **keys})
    assert "\n" not in str(caught.value)


def test_a_density_of_another_model_is_one_line(density):
    with pytest.raises(InputError, match="the density is of another model"):
        sl.tl.sample(untrained("gaussian", n_axes=3), 5, density=density)


def test_a_mixture_finds_its_parts_and_the_width_of_the_posteriors():
    rng = np.random.default_rng(0)
    centre = np.where(np.arange(600) % 3 == 0, 6.0, 0.0)
    means = np.stack([centre, rng.normal(0, 100, 600)], 1) + np.array([1.0, 0.0]) * rng.normal(size=(600, 1))
    draws = means + np.array([1.0, 1e-3]) * rng.normal(size=(4, 600, 2))
    mixture, share, found = fit_mixture(draws)
    assert len(found) > 3
    assert share.shape == (600, len(mixture.weights))
    points, which = mixture.draw(rng, 20_000)
    assert np.bincount(which).argmax() == mixture.weights.argmax()
    assert (points[:, 0] > 3).mean() == pytest.approx(1 / 3, abs=0.03)
    for side in (points[:, 0] < 3, points[:, 0] > 3):
        assert points[side, 0].std() == pytest.approx(np.sqrt(2), rel=0.15)
    assert points[:, 1].std() == pytest.approx(100, rel=0.1)


def test_scores_give_back_the_sizes_of_each_combination():
    rng = np.random.default_rng(0)
    code = np.repeat([0, 1, 2], [500, 500, 3])
    library = np.exp(rng.normal(5, 0.3, 1003) + 2 * (code == 1))
    scores, beside = fit_scores({"rna": library}, code, rng.normal(size=(1003, 1)) ** 3)
    assert beside.shape == (1003, 2)
    assert abs(beside[code == 1, 0].mean()) < 0.01, "ranked among the cells of its combination"
    drawn = rng.standard_normal(4000)
    for which in (0, 1):
        back = scores.libraries(drawn, np.full(4000, which))
        assert stats.ks_2samp(back, library[code == which]).statistic < 0.05
    everyone = scores.libraries(drawn, np.full(4000, -1))
    np.testing.assert_array_equal(everyone, scores.libraries(drawn, np.full(4000, 2)), "three cells say too little")
    assert stats.ks_2samp(everyone, library).statistic < 0.05
