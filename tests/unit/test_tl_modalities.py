"""Two modalities through the stages: prepared, trained, embedded, judged, named, decoded, predicted from each other."""

from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from multiome import multiome
from scipy import sparse

import sclatent as sl
from sclatent.data import slots
from sclatent.data.modalities import counts_of, further, measured
from sclatent.io._modalities import join_modalities
from sclatent.settings import InputError, ModalitiesSettings
from sclatent.tl._axes.peaks import largest

MODALITIES = ModalitiesSettings.model_validate({"rna": {}, "atac": {"counts": "-", "n_top": 150, "min_cells": 3}})


@pytest.fixture(scope="module")
def counts() -> ad.AnnData:
    """Return 300 cells: 40 without RNA, 50 without peaks."""
    rna, atac = multiome()
    return join_modalities(rna[40:], atac[:250], MODALITIES, "x.yaml")


@pytest.fixture(scope="module")
def prepared(counts) -> ad.AnnData:
    return sl.pp.prepare(counts, modalities=MODALITIES, genes={"n_top": 100})


@pytest.fixture(scope="module")
def cells(prepared) -> ad.AnnData:
    return sl.pp.model_counts(prepared)


@pytest.fixture(scope="module")
def trained(cells) -> Any:
    model = {"n_latent": 5, "n_hidden": 32}
    return sl.tl.train(cells, model=model, modalities=MODALITIES)


@pytest.fixture(scope="module")
def latent(cells, trained) -> ad.AnnData:
    return sl.tl.embed(cells, trained)


def test_filters_ask_each_cell_what_it_has(counts, prepared):
    assert prepared.n_obs == counts.n_obs  # no cell goes for what was not measured of it
    filters = prepared.uns[slots.UNS][slots.UNS_FILTERS].set_index("filter")
    table = further(prepared)["atac"]
    seen = np.bincount(counts_of(counts, "atac").indices, minlength=240)
    assert filters.loc["modalities.atac.min_cells", "left"] == len(table) == (seen >= 3).sum()
    assert table["n_cells_by_counts"].tolist() == seen[seen >= 3].tolist()
    assert table["in_model"].sum() == 150
    assert (prepared.obs["n_peaks"][~measured(prepared, "atac")] == 0).all()
    strict = ModalitiesSettings.model_validate({"rna": {}, "atac": {"counts": "-", "min_peaks": 45}})
    fewer = sl.pp.prepare(counts, modalities=strict, genes={"n_top": 100})
    n_open = np.diff(counts_of(counts, "atac").indptr)
    assert fewer.n_obs == ((n_open >= 45) | ~measured(counts, "atac")).sum()


def test_peaks_are_chosen_on_training_cells_only(counts, prepared):
    other = counts.copy()
    test = prepared.obs_names[prepared.obs[slots.SPLIT] == slots.TEST]
    rows = counts_of(other, "atac").tolil()
    for at in other.obs_names.get_indexer(test):
        rows[at, :] = rows[at, ::-1] if measured(other, "atac")[at] else 0
    other.obsm["atac"] = sparse.csr_matrix(rows)
    again = sl.pp.prepare(other, modalities=MODALITIES, genes={"n_top": 100})
    ours, theirs = further(prepared)["atac"], further(again)["atac"]
    both = ours.index.intersection(theirs.index)
    assert len(both) > 200
    assert (ours.loc[both, "in_model"] == theirs.loc[both, "in_model"]).mean() > 0.98


def test_model_counts_hold_the_features_of_the_model(cells):
    assert cells.obsm["atac"].shape == (300, 150)
    assert further(cells)["atac"]["in_model"].all()


def test_each_cell_has_a_joint_latent_and_those_of_what_it_has(cells, latent):
    assert np.isfinite(latent.X).all()
    for name in ("rna", "atac"):
        there = measured(cells, name)
        mean = latent.obsm[slots.latent_of(name)]
        assert np.isfinite(mean[there]).all()
        assert np.isnan(mean[~there]).all()
        alone = there & (latent.obs[slots.MEASURED].astype(str) == name).to_numpy()
        assert np.allclose(mean[alone], latent.X[alone], atol=1e-5)
    both = (latent.obs[slots.MEASURED].astype(str) == "rna+atac").to_numpy()
    sd = latent.layers[slots.SD]
    for name in ("rna", "atac"):
        assert (sd[both] <= latent.obsm[slots.latent_sd_of(name)][both] + 1e-5).all()
    assert latent.varm[slots.loadings_of("atac")].shape == (5, 150)


def test_types_lie_apart_in_either_modality(cells, latent):
    from sklearn.neighbors import KNeighborsClassifier

    labels = cells.obs[slots.CELL_TYPE].astype(str).to_numpy()
    both = (latent.obs[slots.MEASURED].astype(str) == "rna+atac").to_numpy()
    neighbours = KNeighborsClassifier(10).fit(latent.X[both], labels[both])
    for name in ("rna", "atac"):
        alone = (latent.obs[slots.MEASURED].astype(str) == name).to_numpy()
        assert neighbours.score(latent.X[alone], labels[alone]) > 0.7, name


def test_a_saved_model_embeds_the_same(cells, trained, latent, tmp_path):
    trained.save(tmp_path)
    again = sl.tl.embed(cells, sl.tl.TrainedModel.load(tmp_path))
    assert np.array_equal(again.X, latent.X)
    assert np.array_equal(again.varm["loadings_atac"], latent.varm["loadings_atac"])


def test_each_modality_is_judged_and_one_from_the_other(cells, trained, latent):
    test = sl.tl.evaluate(cells, trained, latent=latent, samples=20)[slots.TEST]
    rna, atac, both = (test[name]["marginal"] for name in ("rna", "atac", "both"))
    assert test["atac_from_rna"]["marginal"] == pytest.approx(both - rna)
    assert test["rna_from_atac"]["marginal"] == pytest.approx(both - atac)
    # the types are in both, so one tells of the other
    assert both > rna + atac
    table = sl.tl.compare({("m", 0): {"test": test}}, {})
    assert {"test_rna_marginal", "test_atac_from_rna_marginal", "test_both_marginal_se"} <= set(table)


def test_peaks_are_predicted_from_rna_of_unseen_cells(cells, trained):
    from sklearn.metrics import roc_auc_score

    held_out = cells[(cells.obs[slots.SPLIT] == slots.TEST) & (cells.obs[slots.MEASURED] == "rna+atac")].copy()
    found = sl.tl.impute(trained, held_out, from_="rna", to="atac")
    assert found.shape == (held_out.n_obs, 150)
    assert ((found.X >= 0) & (found.X <= 1)).all()
    assert (found.layers["sd"] > 0).all()
    open_ = held_out.obsm["atac"].toarray() > 0
    train = cells.obsm["atac"][(cells.obs[slots.SPLIT] == slots.TRAIN).to_numpy()]
    usual = np.asarray((train > 0).mean(axis=0)).ravel()
    ours, theirs = (
        np.mean([roc_auc_score(row, score) for row, score in zip(open_, scores, strict=True)])
        for scores in (found.X, np.tile(usual, (held_out.n_obs, 1)))
    )
    assert ours > theirs + 0.02
    # what a cell has of the other modality is not looked at
    blind = held_out.copy()
    blind.obsm["atac"] = sparse.csr_matrix(blind.obsm["atac"].shape, dtype=np.float32)
    assert np.allclose(sl.tl.impute(trained, blind, from_="rna", to="atac").X, found.X)
    deeper = sl.tl.impute(trained, held_out, from_="rna", to="atac", depth=4 * found.uns["impute"]["depth"])
    assert (deeper.X > found.X).all()


def test_rna_is_predicted_from_peaks(cells, trained):
    found = sl.tl.impute(trained, cells, from_="atac", to="rna", draws=8)
    assert found.n_obs == measured(cells, "atac").sum()
    assert list(found.var_names) == trained.card["genes"]
    assert np.allclose(found.X.sum(axis=1), trained.card["depth"], rtol=0.05)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"to": "atca"}, "impute: to: the model has no modality 'atca' .did you mean 'atac'"),
        ({"from_": "protein"}, "impute: from_: the model has no modality 'protein'"),
        ({"to": "rna"}, "impute: from_ and to are both 'rna'"),
        ({"draws": 1}, "impute: draws: found 1"),
        ({"depth": 0}, "impute: depth: found 0"),
    ],
)
def test_what_cannot_be_predicted_is_one_line(cells, trained, keys, line):
    with pytest.raises(InputError, match=line):
        sl.tl.impute(trained, cells, **keys)


def test_cells_of_rna_alone_go_into_the_model(cells, trained, latent):
    rna = ad.AnnData(cells.X, obs=cells.obs[["batch"]], var=cells.var)
    found = sl.tl.query(rna, trained)
    has = measured(cells, "rna")
    assert np.allclose(found.X[has], latent.obsm[slots.latent_of("rna")][has], atol=1e-4)


def test_axes_are_named_with_peaks_and_the_nearest_gene(prepared, latent):
    table = sl.tl.annotate(prepared, None, latent)
    row = np.asarray(latent.varm["loadings_atac"])[0]
    features = np.asarray(latent.uns["features_atac"], dtype=str)
    up = [features[g] for g in largest(row, 10)[0]]
    assert table["peaks_up"].iloc[0].split(", ") == up
    placed = prepared.copy()
    placed.var["chrom"] = [f"chr{1 + i % 3}" for i in range(placed.n_vars)]
    placed.var["start"] = np.arange(placed.n_vars) * 1500
    placed.var["end"] = placed.var["start"] + 700
    words = sl.tl.annotate(placed, None, latent)["peaks_up"].iloc[0].split(", ")
    assert [word.split(" (")[0] for word in words] == up
    genes = {word.split(" (")[1].rstrip(")") for word in words}
    assert genes <= set(placed.var[slots.SYMBOL].astype(str))


def test_the_cycle_of_cells_without_rna_is_not_known(prepared):
    found = sl.tl.cycle(prepared)
    has = measured(prepared, "rna")
    assert list(found.obs_names) == list(prepared.obs_names)
    assert not found.obs[slots.CYCLING][~has].any()
    assert found.obs[slots.PHASE][~has].isna().all()
    assert np.isnan(found.obsm[slots.PHASE_PROBABILITY][~has]).all()
    alone = sl.tl.cycle(prepared[has].copy())
    pd.testing.assert_frame_equal(found.obs[has], alone.obs)


def test_paths_are_decoded_in_both(cells, trained, latent, prepared):
    found = sl.tl.traverse(cells, sl.tl.cycle(prepared), latent, trained, traverse={"steps": 5})
    table = further(found)["atac"]
    assert found.n_obs == 5 * int(latent.var["active"].sum()) > 0
    assert found.obsm["atac"].shape == found.obsm["atac_sd"].shape == (found.n_obs, len(table))
    assert (found.obsm["atac"] > 0).all()
    assert (found.obsm["atac_sd"] > 0).all()
    axis = str(found.obs["path"].iloc[0])
    row = np.asarray(latent.varm["loadings_atac"])[latent.var_names.get_loc(axis)]
    features = np.asarray(latent.uns["features_atac"], dtype=str)
    rising = table.index.get_loc(features[np.argmax(row)])
    assert (np.diff(found.obsm["atac"][:5, rising]) > 0).all()
    assert {"chrom", "called", "reference"} <= set(table)


def test_rare_features_stay_where_all_cells_are(trained):
    decoder = trained.vae.others["atac"].decoder
    assert decoder.penalty() is not None
    assert trained.vae.modality.decoder.penalty() is None
