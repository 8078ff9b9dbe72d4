"""Cells drawn with RNA and peaks: from one place, each with a depth of its own; judged, joined, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from multiome import multiome
from scipy import sparse, stats
from test_tl_samples import with_knob

import sclatent as sl
from sclatent.data.modalities import measured
from sclatent.io._modalities import join_modalities
from sclatent.settings import InputError, ModalitiesSettings
from sclatent.tl._samples import sample as drawing
from sclatent.tl._samples.judge import looks_of_both
from sclatent.tl._samples.judge_peaks import look_at_peaks, of_both, of_peaks
from sclatent.tl._samples.scores import filled

MODEL = {"n_latent": 5, "n_hidden": 32}


def joined(likelihood: str = "bernoulli", **more: Any) -> tuple[ad.AnnData, ModalitiesSettings]:
    """Return 300 cells as the model sees them: 40 without RNA, 50 without peaks."""
    atac = {"counts": "-", "n_top": 150, "min_cells": 3, "likelihood": likelihood}
    both = ModalitiesSettings.model_validate({"rna": {}, "atac": atac})
    rna, peaks = multiome(**more)
    counts = join_modalities(rna[40:], peaks[:250], both, "x.yaml")
    prepared = sl.pp.prepare(counts, modalities=both, genes={"n_top": 100}, batch="batch", split={"test": 0.3})
    return sl.pp.model_counts(prepared), both


@pytest.fixture(scope="module")
def world() -> tuple[ad.AnnData, Any]:
    cells, both = joined()
    return cells, sl.tl.train(cells, model=MODEL, modalities=both, batch="batch")


@pytest.fixture(scope="module")
def density(world):
    return sl.tl.density(*world)


@pytest.fixture(scope="module")
def drawn(world, density):
    return sl.tl.sample(world[1], 800, density=density, seed=1)


@pytest.fixture(scope="module", autouse=True)
def quick() -> Any:
    """Few trees and resamples, since much is judged here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sclatent.tl._samples.apart.TREES", 20)
        patch.setattr("sclatent.tl._samples.apart.RESAMPLES", 20)
        yield


@pytest.fixture(scope="module")
def few(drawn) -> ad.AnnData:
    """So many that no fold has more than 255 cells, the bins of the boosting; scikit-learn makes bins slowly."""
    return drawn[:200].copy()


@pytest.fixture(scope="module")
def judged(world, few, quick) -> pd.DataFrame:
    cells = world[0]
    test = (cells.obs["split"] == "test").to_numpy()
    return sl.tl.check_samples(cells[test], few, training=cells[~test])


def test_every_drawn_cell_has_both_and_says_where_it_comes_from(world, density, drawn):
    cells, model = world
    peaks = drawn.obsm["atac"]
    assert drawn.shape == (800, cells.n_vars)
    assert peaks.shape == (800, 150)
    assert sparse.isspmatrix_csr(peaks)
    assert peaks.dtype == np.float32
    assert set(peaks.data) == {1.0}
    assert set(drawn.obs["measured"]) == {"rna+atac"}
    assert measured(drawn, "rna").all()
    assert measured(drawn, "atac").all()
    table = drawn.uns["sclatent"]["modalities"]["atac"]
    assert list(table.index) == model.card["modalities"]["atac"]["features"]
    assert table["start"].dtype == np.int64
    about = drawn.uns["sclatent"]["sample_of_model"]
    assert (about["likelihood"], about["likelihood_atac"]) == ("nb", "bernoulli")
    known = cells.obs["split"] != "test"
    assert density.about["measured"] == cells.obs["measured"][known].astype(str).value_counts().to_dict()
    assert density.about["cells"] == known.sum()
    # drawn cells are cells as the other functions know them
    latent = sl.tl.embed(drawn, model)
    place = drawn.obsm["X_sclatent"]
    widest = int(np.argmax(place.std(0)))
    assert np.corrcoef(latent.X[:, widest], place[:, widest])[0, 1] > 0.5
    assert sl.tl.impute(model, drawn).shape == (800, 150)


def test_each_modality_has_depths_of_its_own_cells(world, drawn):
    cells = world[0]
    fitted = cells[cells.obs["split"] != "test"]
    for name, column in (("rna", "library_size"), ("atac", "library_size_atac")):
        there = fitted[measured(fitted, name)]
        counts = there.X if name == "rna" else there.obsm["atac"] > 0
        real = np.asarray(counts.sum(1)).ravel()
        for batch in ("batch1", "batch2"):
            ours = drawn.obs[column][(drawn.obs["batch"] == batch).to_numpy()]
            theirs = real[(there.obs["batch"] == batch).to_numpy()]
            assert stats.ks_2samp(ours, theirs).statistic < 0.15, (name, batch)
    n_open = np.diff(drawn.obsm["atac"].indptr)
    assert n_open.mean() == pytest.approx(drawn.obs["library_size_atac"].mean(), rel=0.02)
    assert drawn.X.sum(1).mean() == pytest.approx(drawn.obs["library_size"].mean(), rel=0.03)


def test_types_of_cells_have_their_peaks(world, drawn):
    """Genes and peaks of a drawn cell are of one type."""
    cells = world[0]
    both = cells[measured(cells, "rna") & measured(cells, "atac")]
    kind = both.obs["cell_type"].astype(str).to_numpy()
    from sklearn.linear_model import LogisticRegression

    def told(counts: Any) -> np.ndarray:
        return np.log1p(1e4 * counts.toarray() / np.maximum(counts.sum(1), 1))

    by_rna = LogisticRegression(max_iter=2000).fit(np.asarray(told(both.X)), kind)
    by_peaks = LogisticRegression(max_iter=2000).fit(np.asarray(told(both.obsm["atac"])), kind)
    guesses = by_rna.predict(np.asarray(told(drawn.X))), by_peaks.predict(np.asarray(told(drawn.obsm["atac"])))
    assert (guesses[0] == guesses[1]).mean() > 0.6
    assert len(set(guesses[0])) == len(set(kind))


def test_the_same_seed_draws_the_same_and_the_file_holds_all(world, density, tmp_path):
    model = world[1]
    density.save(tmp_path / "a.npz")
    again = sl.tl.Density.load(tmp_path / "a.npz")
    again.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    first, second = (sl.tl.sample(model, 200, density=one, seed=5) for one in (density, again))
    other = sl.tl.sample(model, 200, density=density, seed=6)
    for key in ("X", "atac"):
        a, b, c = (one.X if key == "X" else one.obsm["atac"] for one in (first, second, other))
        assert (a != b).nnz == 0
        assert (a != c).nnz > 0


def test_cells_are_drawn_a_few_at_a_time(world, density, monkeypatch):
    model, sizes = world[1], []
    whole = type(model.vae).sample

    def spy(self, z, *args, of="rna", **more):
        sizes.append((of, len(z)))
        return whole(self, z, *args, of=of, **more)

    monkeypatch.setattr(type(model.vae), "sample", spy)
    monkeypatch.setattr(drawing, "BLOCK", 150 * 64)
    cells = sl.tl.sample(model, 200, density=density)
    assert cells.obsm["atac"].shape == (200, 150)
    assert [n for of, n in sizes if of == "atac"] == [64, 64, 64, 8]
    assert [n for of, n in sizes if of == "rna"] == [200]


def test_what_is_asked_for_holds_for_both(world, density):
    model = world[1]
    at = sl.tl.sample(model, 50, density=density, axis={"axis_1": 1.5}, library={"atac": 30}, given={"batch": "batch2"})
    np.testing.assert_allclose(at.obsm["X_sclatent"][:, 0], 1.5)
    np.testing.assert_allclose(at.obs["library_size_atac"], 30)
    assert at.obs["library_size"].std() > 0
    assert set(at.obs["batch"]) == {"batch2"}
    assert at.uns["sclatent"]["sample_of_model"]["library"] == {"atac": 30}
    each = {"rna": np.arange(1, 51) * 40.0, "atac": np.arange(1, 51) * 1.0}
    both = sl.tl.sample(model, 50, density=density, library=each)
    np.testing.assert_allclose(both.obs["library_size"], each["rna"])
    np.testing.assert_allclose(both.obs["library_size_atac"], each["atac"])
    assert both.uns["sclatent"]["sample_of_model"]["library"] == dict.fromkeys(each, "one for each cell")
    prior = sl.tl.sample(model, 300, library={"rna": 500, "atac": 20})
    assert abs(prior.obsm["X_sclatent"].std(0) - 1).max() < 0.2
    assert np.diff(prior.obsm["atac"].indptr).mean() == pytest.approx(20, rel=0.05)
    placed = sl.tl.sample(model, 300, density=density, prior=True)
    assert (
        stats.ks_2samp(
            placed.obs["library_size_atac"], sl.tl.sample(model, 300, density=density).obs["library_size_atac"]
        ).statistic
        < 0.15
    )


def test_peaks_follow_the_phase(world):
    cells, model = world
    path, knob, _ = with_knob(model, cells)
    density = sl.tl.density(cells, model, knob=knob)
    at = [sl.tl.sample(model, 80, density=density, phase=phase, seed=1) for phase in ("S", "G2M")]
    moved = at[0].obsm["X_sclatent"] - at[1].obsm["X_sclatent"]
    np.testing.assert_allclose(moved, np.tile(path.at(2.0) - path.at(4.0), (80, 1)), atol=1e-4)
    assert (at[0].obsm["atac"] != at[1].obsm["atac"]).nnz > 0


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"library": 500}, r"library: the model has rna, atac: give a number for each by name, such as \{'rna'"),
        ({"library": {"atca": 5}}, r"the model has no modality 'atca' \(did you mean 'atac'\?\): it has rna, atac"),
        ({"library": {"atac": -1}}, "library: atac: expected numbers above 0, found -1"),
        ({"library": {"rna": [1, 2]}}, "library: rna: expected a number, or one for each of the 10 cells"),
        ({"library": {"atac": 151}}, "library: atac: found 151, but there are 150 peaks"),
        ({"density": None}, r"library=\{'rna': NUMBER, 'atac': NUMBER\}"),
        ({"density": None, "library": {"rna": 500}}, "without a density nothing is known of library sizes"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(world, density, keys, said):
    with pytest.raises(InputError, match=said) as caught:
        sl.tl.sample(world[1], **{"n": 10, "density": density, **keys})
    assert "\n" not in str(caught.value)


def test_a_density_needs_cells_with_each_modality(world, density):
    cells, model = world
    alone = cells[(cells.obs["measured"].astype(str) == "rna").to_numpy()].copy()
    with pytest.raises(InputError, match="density: no cell was measured for atac"):
        sl.tl.density(alone, model)
    rna_alone = sl.tl.train(cells, model=MODEL | {"epochs": 1}, batch="batch")
    with pytest.raises(InputError, match="the density is of another model"):
        sl.tl.sample(rna_alone, 5, density=density)
    with pytest.raises(InputError, match=r"the model has no modality 'atac': it has rna"):
        sl.tl.sample(rna_alone, 5, library={"atac": 5})
    assert sl.tl.sample(rna_alone, 5, library={"rna": 500}).obs["library_size"].eq(500).all()


def test_a_missing_depth_is_drawn_from_what_is_known():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(900, 2))
    both = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 900)
    both[:, 1] = 0.6 * both[:, 0] + 0.6 * z[:, 0] + np.sqrt(1 - 0.72) * rng.normal(size=900)
    seen = both.copy()
    seen[:300, 1] = np.nan
    seen[300:400, 0] = np.nan
    draws = np.stack([z, z])
    out = filled(draws, seen, 0)
    assert np.array_equal(out[0][~np.isnan(seen)], seen[~np.isnan(seen)])
    assert np.isfinite(out).all()
    assert not np.array_equal(out[0, :300, 1], out[1, :300, 1]), "every draw has its own"
    found = out[0, :300, 1]
    assert np.corrcoef(found, both[:300, 0])[0, 1] == pytest.approx(0.6, abs=0.15)
    assert np.corrcoef(found, z[:300, 0])[0, 1] == pytest.approx(0.6, abs=0.15)
    assert found.std() == pytest.approx(1, abs=0.15)
    seen[:895, 1] = np.nan  # five cells with both say nothing
    alone = filled(draws, seen, 0)[0, :895, 1]
    assert abs(np.corrcoef(alone, z[:895, 0])[0, 1]) < 0.15
    assert alone.std() == pytest.approx(1, abs=0.1)


def test_counts_of_fragments_are_drawn_as_counts():
    cells, both = joined("poisson")
    model = sl.tl.train(cells, model=MODEL | {"epochs": 5}, modalities=both)
    made = sl.tl.sample(model, 300, density=sl.tl.density(cells, model))
    assert made.obsm["atac"].max() > 1
    assert made.obsm["atac"].sum(1).mean() == pytest.approx(made.obs["library_size_atac"].mean(), rel=0.03)
    table = sl.tl.check_samples(cells[::2], made[::2]).set_index(["modality", "measure"])["drawn"]
    assert 0.7 < table["atac", "count_ratio"] < 1.2
    # a size above the number of peaks is one of fragments
    assert sl.tl.sample(model, 5, library={"rna": 100, "atac": 900}).obsm["atac"].sum(1).mean() > 700


def test_coordinates_are_told_where_names_hold_them(world, density):
    trained = world[1]
    card = trained.card | {
        "modalities": {"atac": trained.card["modalities"]["atac"] | {"features": [f"p{k}" for k in range(150)]}}
    }
    made = sl.tl.sample(sl.tl.TrainedModel(trained.vae, card, None), 3, density=density)
    assert list(made.uns["sclatent"]["modalities"]["atac"]) == ["in_model"]


def test_both_are_judged_and_how_they_go_together(world, few, judged):
    cells, table = world[0], judged
    test = (cells.obs["split"] == "test").to_numpy()
    assert list(table) == ["modality", "measure", "drawn", "low", "high", "training", "ideal"]
    assert list(table["modality"].unique()) == ["rna", "atac", "both"]
    rows = table.set_index(["modality", "measure"])
    assert rows.loc[("rna", "auroc"), "drawn"] < 0.85
    assert rows.loc[("atac", "open_fraction_ratio"), "drawn"] == pytest.approx(1, abs=0.15)
    assert rows.loc[("atac", "count_ratio"), "drawn"] == 1, "the model sees presence, and so does who judges"
    assert table["drawn"].notna().all()
    assert table["training"].notna().all()
    alone = sl.tl.check_samples(cells[test], ad.AnnData(few.X, obs=few.obs, var=few.var))
    assert "modality" not in alone
    assert alone.set_index("measure").loc["auroc", "drawn"] == rows.loc[("rna", "auroc"), "drawn"]


@pytest.fixture(scope="module")
def many() -> ad.AnnData:
    rna, peaks = multiome(310, 80, 120, seed=3)
    both = ModalitiesSettings.model_validate({"rna": {}, "atac": {"counts": "-", "min_cells": 3}})
    return join_modalities(rna, peaks, both, "x.yaml")


def test_what_differs_is_what_is_said(many):
    rng = np.random.default_rng(0)
    real, other = many[:155], many[155:]
    looks, dense = looks_of_both(real, real, "real"), other.obsm["atac"].toarray()

    def peaks(counts: np.ndarray) -> dict[str, float]:
        changed = ad.AnnData(other.X, obs=other.obs, var=other.var, obsm={"atac": sparse.csr_matrix(counts)})
        changed.uns = other.uns
        return of_peaks(looks[1], look_at_peaks(changed, "drawn", drawn=many, name="atac"), 0)

    def both(rows: np.ndarray) -> dict[str, float]:
        genes, peaks = looks_of_both(other, many, "drawn")
        return of_both(looks, (genes, replace(peaks, counts=peaks.counts[rows], n_open=peaks.n_open[rows])), 0)

    same, together = peaks(dense), both(np.arange(155))
    assert same["auroc"] == pytest.approx(0.5, abs=0.1)
    assert together["auroc"] == pytest.approx(0.5, abs=0.1)
    # genes of one cell with peaks of another
    assert both(rng.permutation(155))["correlation_agreement"] < 0.2 < together["correlation_agreement"]
    apart = peaks(np.stack([rng.permutation(column) for column in dense.T], 1))
    assert apart["auroc"] > 0.75
    assert apart["correlation_agreement"] < 0.3 < same["correlation_agreement"]
    assert apart["prevalence_error"] == pytest.approx(same["prevalence_error"])
    fewer = peaks(dense * (rng.random(dense.shape) < 0.5))
    assert fewer["open_fraction_ratio"] == pytest.approx(0.5, abs=0.1)
    assert fewer["open_fraction_distance"] > 0.5
    assert fewer["prevalence_error"] > 0.8
    assert fewer["auroc"] > 0.75


def test_few_cells_with_both_are_judged_apart(many, caplog):
    real = many[:40].copy()
    real.obs["measured"] = pd.Categorical(["rna"] * 20 + ["atac"] * 15 + ["rna+atac"] * 5)
    table = sl.tl.check_samples(real, many[100:140].copy())
    assert set(table["modality"]) == {"rna", "atac"}
    assert "fewer than 10 cells have all modalities" in caplog.text
    real.obs["measured"] = pd.Categorical(["rna"] * 31 + ["atac"] * 4 + ["rna+atac"] * 5)
    with pytest.raises(InputError, match="9 real cells with atac: a comparison needs 10 or more"):
        sl.tl.check_samples(real, many[100:140].copy())
    nothing = real.copy()
    del nothing.obsm["atac"]
    with pytest.raises(InputError, match="the real cells have no atac, which was drawn"):
        sl.tl.check_samples(nothing, many[100:140].copy())
    lacking = many[:40].copy()
    lacking.obsm["atac"] = lacking.obsm["atac"][:, 1:]
    lacking.uns["sclatent"]["modalities"] = {"atac": many.uns["sclatent"]["modalities"]["atac"].iloc[1:]}
    with pytest.raises(InputError, match="lack 1 of the drawn peaks"):
        sl.tl.check_samples(lacking, many[100:140].copy())


def test_the_figures_hold_the_numbers(world, drawn, judged):
    cells, table = world[0], judged
    figures = sl.pl.samples(cells, drawn, table)
    assert list(figures) == ["samples", "samples_atac"]
    rows = table.set_index(["modality", "measure"])["drawn"]
    for name, modality in (("samples", "rna"), ("samples_atac", "atac")):
        titles = [ax.get_title("left") for ax in figures[name].axes]
        assert f"Told from held-out cells: {rows[modality, 'auroc']:.2f}" in titles
        assert len(titles) == 6
    words = [text.get_text() for text in figures["samples_atac"].axes[5].texts]
    assert f"{rows['both', 'correlation_agreement']:.2f}" in words
    apart = sl.pl.samples(cells, drawn, table[table["modality"] != "both"])
    assert not apart["samples_atac"].axes[4].has_data()


def test_drawn_cells_are_a_mudata(world, drawn, tmp_path):
    import mudata

    whole = sl.atlas.to_mudata(drawn)
    sl.io.write_h5mu(whole, tmp_path / "samples.h5mu")
    again = mudata.read_h5mu(tmp_path / "samples.h5mu")
    assert {name: part.shape for name, part in again.mod.items()} == {"rna": drawn.shape, "atac": (800, 150)}
    assert np.array_equal(again["atac"].X.toarray(), drawn.obsm["atac"].toarray())
    assert np.array_equal(again["rna"].X.toarray(), drawn.X.toarray())
    np.testing.assert_array_equal(again["atac"].obs["library_size"], drawn.obs["library_size_atac"])
    np.testing.assert_array_equal(again["rna"].obs["library_size"], drawn.obs["library_size"])
    np.testing.assert_array_equal(again.obsm["X_sclatent"], drawn.obsm["X_sclatent"])
    assert list(again.obs["batch"]) == list(drawn.obs["batch"])
    assert again["rna"].uns["sclatent"]["sample_of_model"]["n"] == 800
    assert "atac" in drawn.obsm, "what was given is as it was"


def test_measured_cells_are_a_mudata_too(world):
    cells = world[0]
    whole = sl.atlas.to_mudata(cells)
    assert whole["rna"].n_obs == measured(cells, "rna").sum()
    assert whole["atac"].n_obs == measured(cells, "atac").sum()
    assert list(whole.obs["measured"]) == list(cells.obs["measured"][whole.obs_names])
    rows = cells.obs_names.get_indexer(whole["atac"].obs_names)
    assert np.array_equal(whole["atac"].X.toarray(), cells.obsm["atac"].toarray()[rows])
    with pytest.raises(InputError, match="measured for RNA alone"):
        sl.atlas.to_mudata(ad.AnnData(cells.X))


def test_a_counterfactual_of_peaks(world):
    cells, model = world
    table = sl.tl.counterfactual(cells, model, {"batch": "batch2"}, of="atac", draws=2)
    assert list(table["peak"]) == model.card["modalities"]["atac"]["features"]
    there = measured(cells, "atac")
    counts = (cells.obsm["atac"] > 0).astype(float)[there]
    expected = np.asarray(counts.multiply(1e4 / counts.sum(1)).mean(0)).ravel()
    np.testing.assert_allclose(table["measured"], expected, rtol=1e-5)
    np.testing.assert_allclose(table["decoded"].sum(), 1e4, rtol=1e-4)
    assert np.corrcoef(table["decoded"], table["measured"])[0, 1] > 0.8
    assert table["log_fold_change"].abs().max() > 0
    genes = sl.tl.counterfactual(cells, model, {"batch": "batch2"}, draws=1)
    there = measured(cells, "rna")
    counts = cells.X[there]
    expected = np.asarray(counts.multiply(1e4 / counts.sum(1)).mean(0)).ravel()
    np.testing.assert_allclose(genes["measured"], expected, rtol=1e-5)
    kinds = cells.obs["measured"].astype(str).to_numpy()
    apart = sl.tl.counterfactual(cells, model, {"batch": "batch2"}, groups=kinds, draws=1)
    assert apart["measured"].isna().groupby(apart["group"]).mean().to_dict() == {"atac": 1, "rna": 0, "rna+atac": 0}
    with pytest.raises(InputError, match=r"of: the model has no modality 'atca' \(did you mean 'atac'"):
        sl.tl.counterfactual(cells, model, {"batch": "batch2"}, of="atca")
