"""A column called like one of the pipeline's keeps its values, and is called ``{name}_input``, in every stage."""

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from sclatent import atlas, pp, tl
from sclatent.atlas._build import _obs
from sclatent.data import slots
from sclatent.data.columns import called
from sclatent.settings import section_json
from sclatent.tl._model.inputs import describe, inputs


@pytest.fixture
def counts(simulated):
    rng = np.random.default_rng(0)
    for i, name in enumerate(slots.WRITTEN):
        simulated.obs[name] = rng.permutation([f"{name}{j % (2 + i % 3)}" for j in range(simulated.n_obs)])
    return simulated


def stages(counts, settings):
    """Return prepared counts, a cycle and a latent space whose axes are the user's `phase` and `leiden`."""
    prepared = pp.prepare(counts, **settings.parts(pp.prepare))
    n = prepared.n_obs
    rng = np.random.default_rng(1)
    cycle = pd.DataFrame({name: rng.random(n) for name in slots.OF_CYCLE}, index=prepared.obs_names)
    cycle["phase"] = pd.Categorical(rng.choice(slots.PHASES, n), categories=list(slots.PHASES), ordered=True)
    cycle["cycling"] = True
    z = 0.1 * rng.normal(size=(n, 3))
    z[:, 0] += pd.factorize(counts.obs["phase"], sort=True)[0]
    z[:, 1] += pd.factorize(counts.obs["leiden"], sort=True)[0]
    latent = ad.AnnData(
        z.astype(np.float32),
        obs=prepared.obs[["split"]].copy(),
        var=pd.DataFrame({"kl": 1.0, "active": True}, index=["axis_1", "axis_2", "axis_3"]),
        varm={"loadings": rng.normal(size=(3, prepared.n_vars)).astype(np.float32)},
        layers={"sd": np.full(z.shape, 0.1, np.float32)},
        uns={"genes": np.array(prepared.var_names, dtype=object)},
    )
    uns = {slots.UNS: {"cycle": {"verdict": "cycle", "reason": ""}}}
    return prepared, ad.AnnData(obs=cycle, uns=uns), latent


def test_they_are_named_at_check(counts, caplog):
    with caplog.at_level(logging.INFO):
        table = pp.check_columns(counts, labels=["phase", "cell_type"], batch="split")
    for name in slots.WRITTEN:
        assert f"'{name}' itself: that of the input is '{name}_input' in all results" in caplog.text
    assert list(table["column"]) == ["split", "phase", "cell_type"]
    assert list(table["called"]) == ["split_input", "phase_input", "cell_type"]
    assert list(table["levels"]) == [3, 4, 4]


def test_prepare_keeps_their_values(counts):
    given = counts.obs.copy()
    prepared = pp.prepare(counts)
    for name in slots.WRITTEN:
        assert called(prepared, name) == f"{name}_input"
        assert list(prepared.obs[f"{name}_input"].astype(str)) == list(given.loc[prepared.obs_names, name])
        assert (name in prepared.obs) == (name in slots.OF_PREPARE and name not in _NOT_HERE)
    assert set(prepared.obs["split"]) == set(slots.SPLITS)


_NOT_HERE = (slots.PCT_SPIKE_IN, slots.DOUBLET_SCORE, slots.PREDICTED_DOUBLET)


def test_labels_are_judged_by_the_values_that_came_in(counts, make_settings, tmp_path):
    settings = make_settings(labels=["phase", "leiden"], batch="split")
    given = counts.obs.copy()
    prepared, cycle, latent = stages(counts, settings)
    axes = tl.annotate(prepared, cycle, latent, **settings.parts(tl.annotate)).set_index("axis")
    assert list(axes["evidence"]) == ["phase_input", "leiden_input", ""]
    assert axes.loc["axis_1", "kind"] == "label"
    assert axes.loc["axis_1", "eta2_phase_input"] > 0.9 > axes.loc["axis_1", "eta2_phase"]
    measured = tl.mixing(latent, prepared, **settings.parts(tl.mixing))
    assert measured["label_accuracy_leiden_input"] > 0.7
    assert "ilisi_split_input" in measured
    assert "clisi_phase" not in measured
    seen = pp.model_counts(prepared)  # what the model's stages read
    card = describe(seen, settings.batch, settings.covariates, settings.library_size, np.arange(prepared.n_obs))
    assert card["levels"] == [sorted(set(given["split"]))]
    codes = inputs(seen, card).categorical[:, 0]
    assert [card["levels"][0][code] for code in codes] == list(given["split"])

    map = ad.AnnData(
        obs=pd.DataFrame({"leiden": pd.Categorical(["0"] * prepared.n_obs)}, index=prepared.obs_names),
        obsm={"X_umap": np.zeros((prepared.n_obs, 2), np.float32)},
        obsp={key: np.eye(prepared.n_obs, dtype=np.float32) for key in ("distances", "connectivities")},
        uns={key: {} for key in ("neighbors", "leiden", "umap")},
    )
    out = atlas.build(
        prepared,
        cycle,
        latent,
        map,
        axes.reset_index(),
        name=settings.name,
        config=section_json(settings),
        **settings.parts(atlas.build),
    )
    out.write_h5ad(tmp_path / "atlas.h5ad")
    obs = ad.read_h5ad(tmp_path / "atlas.h5ad").obs
    for name in ("phase", "leiden", "split", "S_score", "cycling"):
        assert list(obs[f"{name}_input"].astype(str)) == list(given[name])
        assert list(obs[name].astype(str)) != list(given[name])
    assert list(obs["phase"].astype(str)) == list(cycle.obs["phase"].astype(str))


def test_what_is_the_same_is_not_kept_twice(simulated):
    first = pp.prepare(simulated)
    again = pp.prepare(first)
    assert not [name for name in again.obs if name.endswith("_input")]
    assert again.uns[slots.UNS][slots.UNS_PREPARED][slots.RENAMED] == {}


def test_whole_number_labels_are_categories_in_the_atlas(counts, make_settings):
    counts.obs["cluster"] = np.where(np.arange(300) == 3, np.nan, np.arange(300) % 12)
    settings = make_settings(labels=["cluster", "true_angle"])
    prepared, cycle, _ = stages(counts, settings)
    map = ad.AnnData(obs=pd.DataFrame({"leiden": ["0"] * 300}, index=prepared.obs_names))
    obs = _obs(prepared, cycle, map, ["cluster", "true_angle"])
    assert list(obs["cluster"].cat.categories) == [str(i) for i in range(12)]
    assert obs["cluster"].isna().sum() == 1
    assert obs["true_angle"].dtype == np.float64


def test_a_label_called_sample_is_a_label(counts, make_settings):
    counts.obs["sample"] = np.where(counts.obs["phase"] < "phase2", "s1", "s2")
    prepared, cycle, latent = stages(counts, make_settings())
    axes = tl.annotate(prepared, cycle, latent, labels="sample").set_index("axis")
    assert axes.loc["axis_1", ["evidence", "kind"]].tolist() == ["sample", "label"]
    axes = tl.annotate(prepared, cycle, latent).set_index("axis")
    assert axes.loc["axis_1", ["evidence", "kind"]].tolist() == ["sample", "technical"]
