"""Axes are named by effect size; numbers agree with scipy and scikit-learn."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression
from sklearn.linear_model import LinearRegression

from sclatent import tl
from sclatent.data.programs import read_gmt
from sclatent.settings import DatasetSettings, InputError
from sclatent.tl._axes.association import (
    Variable,
    adjusted_eta_squared,
    eta_squared,
    mutual_information,
    permutation_p,
    q_values,
    spearman,
)
from sclatent.tl._axes.strength import information, largest_fold, strength


def settings(**sections):
    return DatasetSettings(name="toy", file="toy.yaml", counts=[{"path": "-"}], **sections)


@pytest.fixture
def toy():
    """Axes made of one thing each: S score, depth, batch, a label, one type of a label, noise, and one switched off."""
    rng = np.random.default_rng(0)
    n = 600
    obs = pd.DataFrame(
        {
            "split": pd.Categorical(rng.choice(["train", "validation", "test"], n, p=[0.7, 0.2, 0.1])),
            "library_size": rng.lognormal(7, 0.5, n),
            "n_genes_by_counts": rng.integers(100, 900, n),
            "batch": pd.Categorical(rng.choice(["a", "b"], n)),
            "tissue": pd.Categorical(rng.choice(["gut", "lung", "skin", "liver"], n)),
        },
        index=[f"c{i}" for i in range(n)],
    )
    cycle = pd.DataFrame({"S_score": rng.normal(size=n), "G2M_score": rng.normal(size=n)}, index=obs.index)
    cycle["phase"] = pd.Categorical(np.where(cycle["S_score"] > 0, "S", "G1"))
    noise = 0.5 * rng.normal(size=(n, 7))
    z = noise.copy()
    z[:, 0] += cycle["S_score"]
    z[:, 1] -= 2 * np.log(obs["library_size"])
    z[:, 2] += obs["batch"].cat.codes.to_numpy() * 2.0
    z[:, 3] += obs["tissue"].cat.codes.to_numpy() * 1.0
    z[:, 4] += (obs["tissue"] == "skin").to_numpy() * 3.0
    z[:, 5] += 0.1 * cycle["G2M_score"]  # significant, and of no size
    genes = [f"ENS{g}" for g in range(30)]
    loadings = rng.normal(size=(7, 30)).astype(np.float32)
    loadings[0] = np.linspace(-1, 2, 30)
    latent = ad.AnnData(
        z.astype(np.float32),
        obs=pd.DataFrame(index=obs.index),
        var=pd.DataFrame(
            {"kl": np.arange(7.0), "active": [True] * 6 + [False]}, index=[f"axis_{k + 1}" for k in range(7)]
        ),
        varm={"loadings": loadings},
        layers={"sd": np.full(z.shape, 0.5, np.float32)},
        uns={"genes": np.array(genes, dtype=object)},
    )
    var = pd.DataFrame({"symbol": [f"G{g}" for g in range(30)]}, index=genes)
    prepared = ad.AnnData(np.ones((n, 30), np.float32), obs=obs, var=var)
    return prepared, ad.AnnData(obs=cycle), latent


def test_axes_are_named_by_what_made_them(toy):
    prepared, cycle, latent = toy
    table = tl.annotate(
        prepared, cycle, latent, **settings(batch="batch", labels="tissue").parts(tl.annotate)
    ).set_index("axis")
    assert list(table["name"]) == [
        "cell cycle: S",
        "depth",
        "batch",
        "tissue",
        "tissue: skin",
        "unnamed",
        "inactive",
    ]
    assert list(table["kind"]) == ["cell cycle", "technical", "technical", "label", "label", "unnamed", "inactive"]
    assert table.loc["axis_6", "q_G2M_score"] <= 0.05, "the small effect is significant, and still names nothing"
    assert table.loc["axis_1", "genes_up"].startswith("G29, G28")
    assert table.loc["axis_1", "genes_down"].startswith("G0, G1")
    assert np.isnan(table.loc["axis_7", "q_S_score"])


def test_the_verdict_on_the_cycle_stands_in_every_row(toy):
    prepared, cycle, latent = toy
    chosen = settings(batch="batch", labels="tissue")
    assert set(tl.annotate(prepared, cycle, latent, **chosen.parts(tl.annotate))["cycle_verdict"]) == {""}
    told = cycle.copy()
    told.uns["sclatent"] = {"cycle": {"verdict": "part of a cycle"}}
    assert set(tl.annotate(prepared, told, latent, **chosen.parts(tl.annotate))["cycle_verdict"]) == {"part of a cycle"}
    assert "cycle_verdict" not in tl.annotate(prepared, None, latent, **chosen.parts(tl.annotate))


def test_test_cells_are_not_looked_at(toy):
    prepared, cycle, latent = toy
    chosen = settings(batch="batch", labels="tissue")
    before = tl.annotate(prepared, cycle, latent, **chosen.parts(tl.annotate))
    latent.X[(prepared.obs["split"] == "test").to_numpy()] = 100.0
    pd.testing.assert_frame_equal(before, tl.annotate(prepared, cycle, latent, **chosen.parts(tl.annotate)))


def test_columns_equal_scipy_and_sklearn(toy):
    prepared, cycle, latent = toy
    table = tl.annotate(prepared, cycle, latent, **settings(batch="batch", labels="tissue").parts(tl.annotate))
    seen = (prepared.obs["split"] != "test").to_numpy()
    z = latent.X[seen].astype(np.float64)
    score = cycle.obs["S_score"].to_numpy()[seen]
    tissue = prepared.obs["tissue"].cat.codes.to_numpy()[seen]
    assert table["spearman_S_score"].to_numpy() == pytest.approx(
        [stats.spearmanr(z[:, k], score).statistic for k in range(7)]
    )
    design = np.eye(4)[tissue]
    assert table["eta2_tissue"].to_numpy() == pytest.approx(
        [LinearRegression().fit(design, z[:, k]).score(design, z[:, k]) for k in range(7)]
    )
    np.testing.assert_array_equal(table["mi_S_score"], mutual_info_regression(z, score, random_state=0))
    np.testing.assert_array_equal(table["mi_tissue"], mutual_info_classif(z, tissue, random_state=0))


def test_a_column_that_is_not_there_is_one_line(toy):
    prepared, cycle, latent = toy
    with pytest.raises(InputError, match=r"toy\.yaml: column 'tisue'.*did you mean 'tissue'"):
        tl.annotate(prepared, cycle, latent, **settings(labels="tisue").parts(tl.annotate))


def test_without_a_cycle_the_rest_is_named(toy):
    prepared, _, latent = toy
    table = tl.annotate(prepared, None, latent, **settings(batch="batch").parts(tl.annotate))
    assert list(table["name"])[:3] == ["unnamed", "depth", "batch"]
    assert not any("S_score" in column for column in table)


def test_missing_values_are_left_out():
    rng = np.random.default_rng(1)
    z, y, group = rng.normal(size=(50, 2)), rng.normal(size=50), rng.integers(0, 3, 50)
    y[:7], group[40:] = np.nan, -1
    assert spearman(z, y)[1] == pytest.approx(stats.spearmanr(z[7:, 1], y[7:]).statistic)
    assert eta_squared(z, group) == pytest.approx(eta_squared(z[:40], group[:40]))
    variable = Variable("y", y, None, "label")
    np.testing.assert_array_equal(mutual_information(z, variable), mutual_info_regression(z[7:], y[7:], random_state=0))


def test_eta_squared_of_many_small_groups_is_adjusted():
    rng = np.random.default_rng(2)
    z, groups = rng.normal(size=(200, 300)), rng.integers(0, 50, 200)
    raw = eta_squared(z, groups)
    assert raw.mean() > 0.2
    assert adjusted_eta_squared(raw, 200, len(np.unique(groups))).mean() < 0.05


def test_permutation_p_is_uniform_under_the_null_and_agrees_with_scipy():
    rng = np.random.default_rng(3)
    z, y = rng.normal(size=(60, 400)), rng.normal(size=60)
    p = permutation_p(z, [Variable("y", y, None, "label")], np.zeros(60, int), n=399)[:, 0]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    exact = np.array([stats.spearmanr(z[:, k], y).pvalue for k in range(400)])
    assert np.abs(p - exact).max() < 0.1


def test_permutations_stay_inside_batches():
    """An association that only comes from what differs between batches is not significant."""
    rng = np.random.default_rng(4)
    batch = np.repeat([0, 1], 100)
    z = (batch * 3.0 + rng.normal(size=200))[:, None]
    y = Variable("y", batch * 3.0 + rng.normal(size=200), None, "label")
    assert permutation_p(z, [y], np.zeros(200, int))[0, 0] == pytest.approx(0.001)
    assert permutation_p(z, [y], batch)[0, 0] > 0.05


def test_q_values_are_those_of_benjamini_hochberg():
    p = np.array([[0.01, 0.04], [np.nan, 0.03]])
    np.testing.assert_allclose(q_values(p), [[0.03, 0.04], [np.nan, 0.04]])


GMT = "HIGH\tabout it\t" + "\t".join(f"G{g}" for g in range(24, 30)) + "\nother set\t\t" + "\tG3\tG9\tG14\tG20\tG25\n"


def test_programs_of_a_gmt_file(toy, tmp_path):
    prepared, cycle, latent = toy
    path = tmp_path / "p.gmt"
    path.write_text(GMT)
    chosen = settings(axes={"programs": str(path)})
    table = tl.annotate(prepared, cycle, latent, **chosen.parts(tl.annotate)).set_index("axis")
    assert table.loc["axis_1", "program"] == "HIGH"
    assert table.loc["axis_1", "programs_up"].startswith("HIGH (+")
    long = tl.enrich(pd.DataFrame(latent.varm["loadings"], latent.var_names, prepared.var["symbol"]), read_gmt(path))
    first = long[(long["axis"] == "axis_1") & (long["program"] == "HIGH")].iloc[0]
    inside, outside = latent.varm["loadings"][0, 24:], latent.varm["loadings"][0, :24]
    test = stats.ttest_ind(inside, outside)
    assert first["score"] == pytest.approx(test.statistic, rel=1e-4)
    assert first["p"] == pytest.approx(test.pvalue, rel=1e-3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A\tb\tX1\tX2\tX3\tX4\tX5\n", "none of the 1 programs has 5 genes among the model's"),
        ("A b X1 X2\n", "line 1: 1 field"),
        ("\n", "holds no gene program"),
    ],
)
def test_a_bad_gmt_file_is_one_line(toy, tmp_path, text, said):
    prepared, cycle, latent = toy
    path = tmp_path / "p.gmt"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        tl.annotate(prepared, cycle, latent, **settings(axes={"programs": str(path)}).parts(tl.annotate))
    assert "\n" not in str(caught.value)


def test_whole_numbers_that_label_cells_are_groups():
    from sclatent.tl._axes.variables import _variable

    clusters = pd.Series([0, 2, 1, 0, 2, 1], dtype=int)
    assert _variable(clusters, "clusters", "label").levels == ("0", "1", "2")
    assert _variable(clusters, "n_genes", "quality").levels is None
    # as float64 too, which they are where a cell has none; numbers with fractions are measured
    assert _variable(clusters.astype(float), "clusters", "label").levels == ("0", "1", "2")
    gap = clusters.astype(float).where(clusters.index > 0)
    assert _variable(gap, "clusters", "label").levels == ("0", "1", "2")
    assert list(_variable(gap, "clusters", "label").known) == [False] + [True] * 5
    assert _variable(clusters / 2, "pseudotime", "label").levels is None


def test_an_axis_is_strong_by_what_counts_tell_or_by_a_gene_that_doubles():
    """exp(4 · loading): a gene of log-rate slope .2 per SD changes 2.2-fold over ± 2 SD, one of .1 only 1.5-fold."""
    loadings = np.zeros((4, 50))
    loadings[1, 7], loadings[2, 7], loadings[3, 7] = -0.2, 0.1, 0.5
    fold = largest_fold(loadings)
    np.testing.assert_allclose(fold, [1, np.exp(0.8), np.exp(0.4), np.exp(2)])
    found = strength(np.array([0.5, 0.02, 0.02, 0.0]), np.array([True, True, True, False]), fold)
    assert list(found) == ["strong", "strong", "weak", "inactive"]


def test_a_weak_axis_keeps_its_name_and_is_called_weak(toy):
    prepared, cycle, latent = toy
    latent = latent.copy()
    latent.varm["loadings"][4] *= 0.001
    latent.X[:, 4] *= 0.1
    table = tl.annotate(
        prepared, cycle, latent, **settings(batch="batch", labels="tissue").parts(tl.annotate)
    ).set_index("axis")
    assert table["strength"]["axis_5"] == "weak"
    assert table["name"]["axis_5"] == "tissue: skin"
    assert table["fold"]["axis_5"] < 1.1
    assert (table["strength"].drop("axis_5") == ["strong"] * 5 + ["inactive"]).all()


def test_the_levels_at_both_ends_are_told(toy):
    prepared, cycle, latent = toy
    table = tl.annotate(
        prepared, cycle, latent, **settings(batch="batch", labels="tissue").parts(tl.annotate)
    ).set_index("axis")
    z = pd.DataFrame(np.asarray(latent.X), columns=latent.var_names, index=prepared.obs_names)
    z = z[(prepared.obs["split"] != "test").to_numpy()]
    mean = ((z - z.mean()) / z.std()).groupby(prepared.obs["tissue"], observed=True).mean()["axis_4"]
    assert table["levels_up"]["axis_4"] == ", ".join(mean[mean > 1].sort_values(ascending=False).index)
    assert table["levels_down"]["axis_4"] == ", ".join(mean[mean < -1].sort_values().index)
    assert table["levels_up"]["axis_5"] == "skin"
    assert table["levels_up"]["axis_1"] == table["levels_down"]["axis_1"] == ""


def test_information_is_that_of_a_gaussian_channel():
    """Signal against signal + noise of correlation r: −½ log(1 − r²). A narrow posterior alone tells nothing."""
    rng = np.random.default_rng(0)
    signal, noise = rng.normal(0, 0.7, 200_000), rng.normal(0, 0.5, 200_000)
    r = np.corrcoef(signal, signal + noise)[0, 1]
    mean = np.stack([signal, np.zeros_like(signal)], axis=1)
    found = information(mean, np.broadcast_to([0.5, 0.1], mean.shape))
    np.testing.assert_allclose(found, [-0.5 * np.log(1 - r**2), 0], atol=0.01)
