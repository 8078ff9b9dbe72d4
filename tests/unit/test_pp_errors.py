"""Columns, cells and genes that cannot work get one line each."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sclatent.pp import check_columns, check_given, check_programs, prepare
from sclatent.settings import InputError


def line(counts, settings):
    with pytest.raises(InputError) as error:  # noqa: PT012
        check_columns(counts, **settings.parts(check_columns))
        prepare(counts, **settings.parts(prepare))
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("test.yaml: ")
    return str(error.value)


def tiny(n_cells, n_genes):
    dense = np.random.default_rng(0).poisson(3.0, (n_cells, n_genes)).astype(np.float32) + 1
    return anndata.AnnData(
        sparse.csr_matrix(dense),
        pd.DataFrame(index=[f"c{i}" for i in range(n_cells)]),
        pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]),
    )


@pytest.mark.parametrize("key", ["batch", "labels", "covariates", "library_size"])
def test_missing_columns(simulated, make_settings, key):
    said = line(simulated, make_settings(**{key: "cell_typo"}))
    assert f"{key}: no obs column 'cell_typo' (did you mean 'cell_type'?)" in said


def test_batch_with_gaps(simulated, make_settings):
    simulated.obs["batch"] = simulated.obs["batch"].astype(object)
    simulated.obs.iloc[3, simulated.obs.columns.get_loc("batch")] = None
    said = line(simulated, make_settings(batch="batch"))
    assert "column 'batch' has no value in 1 of 300 cells (such as 'cell003')" in said


@pytest.mark.parametrize("key", ["batch", "labels"])
def test_one_level(simulated, make_settings, key):
    simulated.obs["x"] = "same"
    assert f"{key}: column 'x' has one level ('same') in all 300 cells" in line(simulated, make_settings(**{key: "x"}))


def test_one_level_after_the_filters(simulated, make_settings):
    genes = np.asarray((simulated.X > 0).sum(axis=1)).ravel()
    simulated.obs["x"] = np.where(genes >= np.median(genes), "rich", "poor")
    said = line(simulated, make_settings(batch="x", cells={"min_genes": int(np.median(genes))}))
    assert "one level ('rich')" in said


def test_labels_of_names_and_batches_of_fractions(simulated, make_settings):
    simulated.obs["name"] = simulated.obs_names
    assert "another value in each of the 300 cells" in line(simulated, make_settings(labels="name"))
    said = line(simulated, make_settings(batch="true_library"))
    assert "holds fractions" in said
    assert "`covariates`" in said


def test_infinite_values_are_no_category(simulated, make_settings):
    simulated.obs["x"] = np.where(np.arange(simulated.n_obs) % 2, 1.0, np.inf)
    said = line(simulated, make_settings(batch="x"))
    assert "batch: column 'x' holds an infinite value in 150 of 300 cells" in said


@pytest.mark.parametrize("name", ["split", "total_counts", "library_size", "phase", "leiden"])
@pytest.mark.parametrize("key", ["batch", "labels"])
def test_a_column_of_ours_is_no_batch_or_label(simulated, make_settings, key, name):
    said = line(simulated, make_settings(**{key: name}))
    assert f"{key}: no obs column '{name}' came in (the pipeline writes one itself, later): available:" in said


def test_a_covariate_is_numbers_whatever_its_type(simulated, make_settings):
    simulated.obs["age"] = pd.Categorical([f"{i % 7}.5" for i in range(300)])
    settings = make_settings(covariates="age")
    assert check_columns(simulated, **settings.parts(check_columns)).loc[0, "kind"] == "numbers"
    np.testing.assert_allclose(prepare(simulated, **settings.parts(prepare)).obs["age"], np.arange(300) % 7 + 0.5)
    simulated.obs["age"] = ["12 days" if i == 3 else str(i) for i in range(300)]
    assert "covariates: column 'age' holds '12 days', not numbers" in line(simulated, settings)
    simulated.obs["age"] = ["NA" if i == 3 else str(i) for i in range(300)]
    assert "is missing or infinite in 1 of 300 cells (such as 'cell003')" in line(simulated, settings)
    simulated.obs["age"] = ["1,5" if i == 3 else str(i) for i in range(300)]
    assert "holds '1,5', not numbers" in line(simulated, settings)


def test_covariates(simulated, make_settings):
    assert "not numbers (categories go under `batch`)" in line(simulated, make_settings(covariates="cell_type"))
    simulated.obs["zero"] = 0.0
    assert "is 0 in all cells" in line(simulated, make_settings(covariates="zero"))
    assert "missing or infinite in" in line(simulated, make_settings(covariates="true_angle"))
    settings = make_settings(covariates=["true_library", "total_counts"])
    assert list(check_columns(simulated, **settings.parts(check_columns))["column"]) == ["true_library"]
    prepare(simulated, **settings.parts(prepare))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A\tb\tX1\tX2\tX3\tX4\tX5\nB\t\tX1\n", "none of the 2 programs of"),
        ("A b X1 X2\n", "line 1: 1 field"),
        ("\n", "holds no gene program"),
    ],
)
def test_gene_programs_that_cannot_be_tested(simulated, tmp_path, text, said):
    path = tmp_path / "p.gmt"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as error:
        check_programs(simulated, axes={"programs": str(path)}, file="test.yaml")
    assert str(error.value).startswith("test.yaml: axes.programs: ")
    assert "\n" not in str(error.value)
    path.write_text("A\tb\t" + "\t".join(simulated.var_names[:5]))
    check_programs(simulated, axes={"programs": str(path)})


def test_what_is_named_is_listed(simulated, make_settings):
    simulated.obs["size"] = 1e6
    labels = simulated.obs["cell_type"].astype(object)
    labels.iloc[:10] = None
    simulated.obs["cell_type"] = labels
    settings = make_settings(batch="batch", labels=["cell_type", "true_angle"], library_size="size")
    table = check_columns(simulated, **settings.parts(check_columns)).set_index("column")
    assert list(table.index) == ["batch", "cell_type", "true_angle", "size"]
    assert list(table["role"]) == ["batch", "labels", "labels", "library_size"]
    assert list(table["kind"]) == ["categories", "categories", "numbers", "numbers"]
    assert list(table["levels"][:2]) == [2, 4]
    assert table.loc["cell_type", "missing"] == 10


def test_library_size(simulated, make_settings):
    total = np.asarray(simulated.X.sum(axis=1)).ravel()
    settings = make_settings(library_size="size")
    simulated.obs["size"] = total - np.eye(300)[7]
    said = line(simulated, settings)
    assert "in cell 'cell007', less than the" in said
    assert "(in 1 of 300 cells)" in said
    simulated.obs["size"] = np.log1p(total)
    assert "untransformed" in line(simulated, settings)
    simulated.obs["size"] = np.where(np.arange(300) == 5, 0, total)
    assert "is 0 in cell 'cell005': it must be positive" in line(simulated, settings)
    simulated.obs["size"] = np.where(np.arange(300) == 5, np.nan, total)
    assert "missing or infinite in 1 of 300 cells (such as 'cell005')" in line(simulated, settings)
    simulated.obs["size"] = "many"
    assert "holds 'many', not numbers" in line(simulated, settings)


def test_split_columns(simulated, make_settings):
    settings = make_settings(split={"column": "mine"})
    assert "split.column: no obs column 'mine'" in line(simulated, settings)
    simulated.obs["mine"] = ["train"] * 200 + ["val"] * 50 + ["test"] * 50
    said = line(simulated, settings)
    assert "column 'mine' holds 'val'" in said
    assert "train, validation, test" in said
    simulated.obs["mine"] = ["train"] * 250 + ["test"] * 50
    assert "has 0 validation cell(s)" in line(simulated, settings)
    simulated.obs["mine"] = ["train"] * 200 + ["validation"] * 50 + ["test"] * 49 + [None]
    assert "no value in 1 cells (such as 'cell299')" in line(simulated, settings)


def test_every_cell_filtered_out(simulated, make_settings):
    said = line(simulated, make_settings(cells={"min_genes": 60, "min_counts": 10**6}))
    assert "no cells left: cells.min_genes (60) removed " in said
    assert "cells.min_counts (1000000) removed " in said


def test_every_gene_filtered_out(simulated, make_settings):
    said = line(simulated, make_settings(genes={"min_cells": 10**4}))
    assert "no genes left: genes.min_cells (10000) removed 200 of 200" in said


def test_a_mito_limit_that_is_a_fraction(simulated, make_settings):
    """0.1 is a tenth of a percent: who meant 10 % would lose nearly all cells."""
    counts = simulated.copy()
    counts.var_names = [f"MT-{i}" for i in range(50)] + list(counts.var_names[50:])
    said = line(counts, make_settings(cells={"max_percent_mito": 0.1}))
    assert "cells.max_percent_mito: 0.1 is 0.1 %, which " in said
    assert "cells exceed: for 10 % write 10" in said


@pytest.mark.parametrize(("levels", "told"), [("xxyy", True), ("xyxy", False), ("xyyy", False)])
def test_batches_of_one_condition_each_are_told(simulated, make_settings, caplog, levels, told):
    counts = simulated[: simulated.n_obs // 4 * 4].copy()
    counts.obs["plate"], counts.obs["drug"] = list("aabb") * (counts.n_obs // 4), list(levels) * (counts.n_obs // 4)
    settings = make_settings(batch="plate", condition="drug")
    check_columns(counts, **settings.parts(check_columns))
    assert ("every level of `batch` 'plate' has one level of `condition` 'drug' only" in caplog.text) == told


def test_several_columns_in_one_word(simulated, make_settings):
    counts = simulated.copy()
    counts.obs["a"], counts.obs["b"] = ["x", "y"] * (counts.n_obs // 2), ["x", "y"] * (counts.n_obs // 2)
    said = line(counts, make_settings(batch="a, b"))
    assert "batch: no obs column 'a, b': list several columns in brackets: [a, b]" in said


def test_a_mito_filter_without_mito_genes(simulated, make_settings):
    said = line(simulated, make_settings(cells={"max_percent_mito": 10}))
    assert "no gene is called MT-" in said


def test_genes_to_keep(simulated, make_settings):
    gene = next(name for name in simulated.var_names if name.startswith("gene"))
    said = line(simulated, make_settings(genes={"keep": [gene + "x"]}))
    assert f"genes.keep: no gene '{gene}x' in the counts (did you mean '{gene}'?)" in said
    dense = simulated.X.toarray()
    dense[:, list(simulated.var_names).index(gene)] = 0
    simulated.X = sparse.csr_matrix(dense)
    assert f"'{gene}' has no count in the cells that passed" in line(simulated, make_settings(genes={"keep": [gene]}))


def test_symbols(simulated, make_settings):
    said = line(simulated, make_settings(genes={"symbols": "on_lst"}))
    assert "genes.symbols: no var column 'on_lst' (did you mean 'on_list'?)" in said


@pytest.mark.parametrize("n_cells", [1, 2, 3])
def test_too_few_cells(make_settings, n_cells):
    said = line(tiny(n_cells, 50), make_settings())
    assert f"{n_cells} cell(s) passed the filters: at least 4 are needed" in said


def test_one_gene(make_settings):
    assert "at least 2 are needed" in line(tiny(50, 1), make_settings())


def test_four_cells_and_two_genes_go_through():
    prepared = prepare(tiny(4, 12), genes={"min_cells": 1})
    assert prepared.obs["split"].value_counts().to_dict() == {"train": 2, "validation": 1, "test": 1}
    assert prepare(tiny(60, 2)).n_vars == 2


def test_normalised_counts_are_refused_here_too(simulated, make_settings):
    simulated.X = simulated.X.log1p()
    assert "holds a fraction" in line(simulated, make_settings())


def test_a_level_that_no_training_cell_has(make_settings):
    counts = tiny(40, 30)
    counts.obs["donor"] = ["d1", "d2"] * 15 + ["d3"] * 10
    counts.obs["part"] = ["train"] * 20 + ["validation"] * 10 + ["validation"] * 3 + ["test"] * 7
    settings = make_settings(batch="donor", split={"column": "part"}, sample={"given": {"donor": "d3"}})
    prepared = prepare(counts, **settings.parts(prepare))
    with pytest.raises(InputError) as error:
        check_given(prepared, **settings.parts(check_given))
    assert str(error.value).startswith(
        "test.yaml: sample.given: no training cell has level 'd3' of column 'donor' (0 train, 3 validation, 7 test "
    )
    assert "(d1, d2)" in str(error.value)
    fine = make_settings(batch="donor", split={"column": "part"}, sample={"given": {"donor": "d1"}})
    table = check_given(prepared, **fine.parts(check_given))
    assert table.to_dict("records") == [{"column": "donor", "level": "d1", "train": 10, "validation": 5, "test": 0}]
    assert len(check_given(prepared, batch="donor")) == 0


def test_a_level_that_the_filters_took(make_settings):
    counts = tiny(40, 30)
    counts.obs["donor"] = ["d1", "d2"] * 15 + ["d3"] * 10
    counts.X = sparse.csr_matrix(counts.X.toarray() * np.r_[np.ones(30), np.zeros(10)][:, None])
    asked = {"condition": "donor", "sample": {"given": {"donor": "d3"}}}
    prepared = prepare(counts, condition="donor")
    with pytest.raises(InputError, match=r"no training cell has level 'd3' .*0 train, 0 validation, 0 test cells"):
        check_given(prepared, **asked)
