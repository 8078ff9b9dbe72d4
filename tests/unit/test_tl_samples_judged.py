"""Drawn cells judged by real ones, cells as if they had been measured otherwise, and the keys that ask for both."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import sclatent as sl
from sclatent.data import simulate
from sclatent.settings import DatasetSettings, InputError, load_dataset, section_json, sections_from_json


def some(counts) -> ad.AnnData:
    return ad.AnnData(
        sparse.csr_matrix(counts, dtype=np.float32), var=pd.DataFrame(index=[f"g{k}" for k in range(counts.shape[1])])
    )


@pytest.fixture(scope="module")
def halves():
    """Two halves of cells of two kinds, and cells whose genes are drawn apart from each other.

    So few that no fold has more than 255, the bins of the boosting: scikit-learn makes bins slowly.
    """
    rng = np.random.default_rng(2)
    rate = 2 * np.exp(rng.normal(0, 1, (2, 60)))
    rate = np.stack([rate[0], rate[0] * np.exp(rng.normal(0, 1.0, 60))])
    counts = rng.poisson(rate[np.arange(310) % 2] * rng.lognormal(0, 0.3, 310)[:, None])
    apart = np.stack([rng.permutation(column) for column in counts.T], 1)
    return some(counts[:155]), some(counts[155:]), some(apart[:155])


def test_cells_of_one_kind_cannot_be_told_apart_and_others_can(halves):
    real, same, apart = halves
    table = sl.tl.check_samples(real, apart, training=same).set_index("measure")
    assert table.loc["auroc", "drawn"] > 0.8
    assert table.loc["auroc", "low"] < table.loc["auroc", "drawn"] < table.loc["auroc", "high"]
    assert table.loc["auroc", "training"] == pytest.approx(0.5, abs=0.12)
    assert table.loc["correlation_agreement", "training"] > 0.7 > table.loc["correlation_agreement", "drawn"]
    assert table.loc["correlation_strength", "drawn"] < 0.6
    assert table.loc["neighbour_distance", "training"] == pytest.approx(1, abs=0.1)
    # every gene has the same counts in both, cell by cell exchanged
    assert abs(table.loc["zero_fraction_difference", "drawn"]) < 0.02
    assert table.loc["mean_error", "drawn"] < 0.3
    again = sl.tl.check_samples(real, apart, training=same).set_index("measure")
    pd.testing.assert_frame_equal(table, again)


def test_what_differs_is_what_is_said(halves):
    real, same, _ = halves
    rng = np.random.default_rng(0)
    deeper = some(same.X.toarray() + rng.poisson(3.0, same.shape))
    table = sl.tl.check_samples(real, deeper).set_index("measure")
    assert table.loc["library_size_distance", "drawn"] > 0.8
    assert table.loc["zero_fraction_difference", "drawn"] < -0.02
    assert table["training"].isna().all()
    noisier = some(same.X.toarray() * rng.choice([0, 3], same.shape, p=[2 / 3, 1 / 3]))
    table = sl.tl.check_samples(real, noisier).set_index("measure")
    assert table.loc["zero_fraction_difference", "drawn"] > 0.2
    assert table.loc["variance_error", "drawn"] > 1
    assert table.loc["neighbour_distance", "drawn"] > 1.1


def test_what_cannot_be_judged_is_one_line(halves):
    real, same, _ = halves
    with pytest.raises(InputError, match="9 real cells: a comparison needs 10 or more"):
        sl.tl.check_samples(real[:9], same)
    with pytest.raises(InputError, match=r"the real cells lack 1 of the drawn genes \('g59', …\)"):
        sl.tl.check_samples(real[:, :59], same)


def test_the_figure_holds_the_number(halves):
    real, same, _ = halves
    table = sl.tl.check_samples(real, same)
    figures = sl.pl.samples(real, same, table)
    assert list(figures) == ["samples"]
    titles = [ax.get_title("left") for ax in figures["samples"].axes]
    auroc = table.set_index("measure").loc["auroc", "drawn"]
    assert f"Told from held-out cells: {auroc:.2f}" in titles
    assert len(titles) == 6


@pytest.fixture(scope="module")
def trained():
    adata = simulate(n_cells=700, n_genes=200, median_library=4000, seed=0)
    adata.obs["split"] = np.where(np.arange(700) < 600, "train", np.where(np.arange(700) < 650, "validation", "test"))
    adata.obs["library_size"] = np.asarray(adata.X.sum(axis=1)).ravel()
    adata.var["in_model"] = True
    how = {"decoder": "linear", "n_latent": 5, "epochs": 40, "batch_size": 64}
    return adata, sl.tl.train(adata, condition="batch", model=how)


def test_a_counterfactual_finds_what_the_condition_does(trained):
    adata, model = trained
    ones = adata[adata.obs["batch"] == "batch1"].copy()
    table = sl.tl.counterfactual(ones, model, {"batch": "batch2"}, draws=3)
    assert list(table["gene"]) == list(adata.var_names)
    assert (table["cells"] == ones.n_obs).all()
    truth = adata.varm["simulated_batch"] @ np.array([-1.0, 1.0])
    seen = table["measured"].to_numpy() > np.median(table["measured"])
    assert np.corrcoef(table["log_fold_change"][seen], truth[seen])[0, 1] > 0.8
    fraction = ones.X.multiply(1e4 / ones.obs["library_size"].to_numpy()[:, None]).mean(0)
    np.testing.assert_allclose(table["measured"], np.asarray(fraction).ravel(), rtol=1e-4)
    np.testing.assert_allclose(table["decoded"].sum(), 1e4, rtol=1e-4)
    assert np.corrcoef(np.log(table["decoded"]), np.log(table["measured"] + 1))[0, 1] > 0.9
    expected = np.log1p(table["as_if"]) - np.log1p(table["decoded"])
    np.testing.assert_allclose(table["log_fold_change"], expected)
    assert (table["sd"] >= 0).all()
    assert table["spread"].max() > 0
    same = sl.tl.counterfactual(ones, model, {"batch": "batch1"}, draws=1)
    np.testing.assert_allclose(same["log_fold_change"], 0, atol=1e-6)


def test_a_counterfactual_by_group(trained):
    adata, model = trained
    kinds = adata.obs["cell_type"]
    table = sl.tl.counterfactual(adata, model, {"batch": "batch2"}, groups=kinds, draws=1)
    assert dict(table.groupby("group")["cells"].first()) == dict(kinds.value_counts())
    alone = sl.tl.counterfactual(adata[kinds == "type1"].copy(), model, {"batch": "batch2"}, draws=1)
    one = table[table["group"] == "type1"].reset_index(drop=True)
    np.testing.assert_allclose(one["as_if"], alone["as_if"], rtol=0.05)


@pytest.mark.parametrize(
    ("given", "more", "said"),
    [
        ({}, {}, "expected a column and its level"),
        ({"batch": "batch9"}, {}, r"column 'batch' has no level 'batch9' \(did you mean"),
        ({"dose": 1}, {}, "not conditioned on 'dose'"),
        ({"batch": "batch1"}, {"draws": 0}, "draws: expected 1 or more, found 0"),
        ({"batch": "batch1"}, {"groups": ["a"]}, "groups: 1 names for 700 cells"),
    ],
)
def test_what_cannot_be_asked_is_one_line(trained, given, more, said):
    with pytest.raises(InputError, match=said) as caught:
        sl.tl.counterfactual(*trained, given, **more)
    assert "\n" not in str(caught.value)


def test_a_condition_is_what_the_decoder_sees_and_an_axis_may_be_named_after(trained):
    adata, model = trained
    assert model.card["batch"] == ["batch"]
    assert model.vae.n_levels == (2,)
    latent = sl.tl.embed(adata, model)
    as_condition = sl.tl.annotate(adata, None, latent, condition="batch")
    as_label = sl.tl.annotate(adata, None, latent, labels="batch")
    pd.testing.assert_frame_equal(as_condition, as_label)
    prepared = sl.pp.prepare(simulate(300, 150, seed=1), condition="batch", genes={"n_top": 40})
    assert isinstance(prepared.obs["batch"].dtype, pd.CategoricalDtype)


def written(tmp_path, text: str):
    path = tmp_path / "d.yaml"
    path.write_text(f"counts: x.h5ad\n{text}")
    return path


def test_the_section_is_read_as_it_is_written(tmp_path):
    text = "batch: run\ncondition: [drug]\ncovariates: age\nsample: {n: 10, given: {run: 001, drug: yes, age: 5}, "
    text += "axis: {axis_2: -1}, phase: 1.5, library: 2e3, seed: 4}\n"
    sample = load_dataset(written(tmp_path, text)).sample
    assert sample.given == {"run": "001", "drug": "yes", "age": "5"}
    assert sample.axis == {"axis_2": -1.0}
    assert (sample.n, sample.phase, sample.library, sample.seed) == (10, 1.5, 2000.0, 4)
    assert load_dataset(written(tmp_path, "organism: human\n")).sample is None
    assert load_dataset(written(tmp_path, "sample: {phase: G2M}\n")).sample.phase == "G2M"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sample: {given: {drug: a}}", "sample.given: no model is conditioned on 'drug': name it under `batch` or"),
        (
            "batch: run\nsample: {given: {rin: a}}",
            "no model is conditioned on 'rin' (did you mean 'run'?): known: run",
        ),
        ("covariates: age\nsample: {given: {age: old}}", "sample.given: column 'age' holds numbers, found 'old'"),
        ("sample: {axis: {axis_40: 1}}", "model 'nb' has no axis 'axis_40': its axes are axis_1 to axis_32 at most"),
        ("models: {a: {n_latent: 4}}\nsample: {axis: {axis_5: 1}}", "its axes are axis_1 to axis_4"),
        ("sample: {axis: {cycle: 1}}", "model 'nb' has no axis 'cycle'"),
        ("sample: {phase: M}", "sample.phase"),
        ("sample: {phase: S, prior: true}", "the prior has no cell cycle: remove `phase`, or `prior`"),
        ("models: {a: {latent: point}}\nsample: {prior: true}", "latent: point of model 'a' has no prior to draw from"),
        ("sample: {n: 0}", "sample.n: should be greater than or equal to 1, found 0"),
        ("sample: {library: 0}", "sample.library: should be greater than 0"),
        ("sample: {library: {atac: 5}}", "sample.library: the cells have no modality 'atac': known: rna"),
        ("sample: {ns: 4}", "sample.ns: unknown key (did you mean 'n'?)"),
        ("sample: 1000", "sample: expected `key: value` lines, found 1000"),
        ("batch: a\ncondition: a", "'a' is named under `batch` and under `condition`: use `batch`"),
        ("condition: a\ncovariates: a", "'a' is named under `condition` and under `covariates`"),
    ],
)
def test_a_section_that_cannot_be_is_one_line(tmp_path, text, said):
    with pytest.raises(InputError) as caught:
        load_dataset(written(tmp_path, text + "\n"))
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "d.yaml"))
    assert "\n" not in str(caught.value)


MODALITIES = "modalities: {rna: {counts: a.h5ad}, atac: {counts: b.h5ad}}"


def of_two(tmp_path, sample: str):
    path = tmp_path / "d.yaml"
    path.write_text(f"{MODALITIES}\nsample: {sample}\n")
    return load_dataset(path)


def test_library_sizes_of_modalities_are_read_by_name(tmp_path):
    settings = of_two(tmp_path, "{n: 10, library: {rna: 2e3, atac: 80}}")
    assert settings.sample.library == {"rna": 2000.0, "atac": 80.0}
    # a rule has this section and no other
    assert sections_from_json(section_json(settings, "sample"))["sample"] == settings.sample
    assert of_two(tmp_path, "{n: 10, library: {atac: 80}}").sample.library == {"atac": 80.0}
    assert of_two(tmp_path, "{n: 10}").sample.library is None


@pytest.mark.parametrize(
    ("library", "said"),
    [
        ("5000", "sample.library: found 5000 for cells with rna, atac: give a number for each by name"),
        ("{rna: 5, atca: 1}", "sample.library: the cells have no modality 'atca' (did you mean 'atac'?): known: rna"),
        ("{atac: 0}", "sample.library.atac: should be greater than 0, found 0"),
        ("{atac: many}", "sample.library.atac: should be a valid number"),
    ],
)
def test_library_sizes_that_cannot_be_are_one_line(tmp_path, library, said):
    with pytest.raises(InputError) as caught:
        of_two(tmp_path, f"{{library: {library}}}")
    assert str(caught.value).startswith(f"{tmp_path / 'd.yaml'}: {said}")
    assert "\n" not in str(caught.value)


def test_an_axis_beyond_the_default_number_passes_the_check(tmp_path):
    """The stage `check` knows the section alone, and not how many axes the models have."""
    settings = load_dataset(written(tmp_path, "models: {a: {n_latent: 64}}\nsample: {axis: {axis_40: 1}}\n"))
    table = sl.pp.check_columns(simulate(60, 50, seed=0), **settings.parts(sl.pp.check_columns))
    assert len(table) == 0


def test_an_unknown_level_stops_before_training():
    counts = simulate(60, 50, seed=0)
    settings = DatasetSettings(name="d", file="d.yaml", counts="-", condition="batch", sample={"given": {"batch": "x"}})
    with pytest.raises(
        InputError, match=r"d.yaml: sample.given: column 'batch' has no level 'x': known: batch1, batch2"
    ):
        sl.pp.check_columns(counts, **settings.parts(sl.pp.check_columns))
    fine = settings.model_copy(update={"sample": settings.sample.model_copy(update={"given": {"batch": "batch1"}})})
    table = sl.pp.check_columns(counts, **fine.parts(sl.pp.check_columns))
    assert list(table["role"]) == ["condition"]
