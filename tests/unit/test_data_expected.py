"""What is no counts, or was not prepared, is one line and never a result."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import sclatent as sl
from sclatent.settings import InputError


@pytest.fixture(scope="module")
def prepared():
    return sl.pp.prepare(sl.data.simulate(120, 60, seed=0))


@pytest.fixture(scope="module")
def trained(prepared):
    return sl.tl.train(prepared, model={"epochs": 1, "n_latent": 2})


@pytest.fixture(scope="module")
def logs(prepared):
    """The same cells as an atlas has them: logarithms in X, the counts in a layer."""
    out = prepared.copy()
    out.layers["counts"] = out.X.copy()
    sc.pp.normalize_total(out)
    sc.pp.log1p(out)
    return out


TAKE_COUNTS = {
    "train": lambda cells, *_: sl.tl.train(cells, model={"epochs": 1, "n_latent": 2}),
    "embed": lambda cells, trained, _: sl.tl.embed(cells, trained),
    "evaluate": lambda cells, trained, _: sl.tl.evaluate(cells, trained, samples=2),
    "refine": lambda cells, trained, _: sl.tl.refine(cells, trained),
    "density": lambda cells, trained, _: sl.tl.density(cells, trained),
    "cycle": lambda cells, *_: sl.tl.cycle(cells),
    "check_samples": lambda cells, _, prepared: sl.tl.check_samples(prepared, cells),
    "gradient_variance": lambda cells, trained, _: sl.tl.gradient_variance(cells, trained),
}


@pytest.mark.parametrize("dress", ["csr", "csc", "dense"])
@pytest.mark.parametrize("name", TAKE_COUNTS)
def test_logarithms_are_refused_where_counts_are_meant(prepared, trained, logs, name, dress):
    cells = logs.copy()
    cells.X = {"csr": cells.X, "csc": sparse.csc_matrix(cells.X), "dense": cells.X.toarray()}[dress]
    with pytest.raises(
        InputError, match=r"^X holds [\d.]+, no count \(cell '.*'\): .*: they are in layers\['counts'\]$"
    ):
        TAKE_COUNTS[name](cells, trained, prepared)
    del cells.layers["counts"]
    with pytest.raises(InputError, match=r"pass prepared cells, or cells whose X holds the counts$"):
        TAKE_COUNTS[name](cells, trained, prepared)


@pytest.mark.parametrize("where", ["layers", "raw", "nowhere"])
def test_prepare_says_where_the_counts_are(logs, where):
    cells = logs[:, :].copy()
    counts = cells.layers.pop("counts")
    if where == "layers":
        cells.layers["logs"], cells.layers["umi"] = cells.X.copy(), counts
    if where == "raw":
        cells.raw = ad.AnnData(counts, obs=cells.obs, var=cells.var)
    with pytest.raises(InputError, match="X holds a fraction") as error:
        sl.pp.prepare(cells)
    told = {"layers": "; whole numbers are in layers['umi']: make", "raw": "; whole numbers are in raw.X: make"}
    assert told.get(where, "") in str(error.value)
    assert ("whole numbers are in" in str(error.value)) == (where != "nowhere")


def test_the_counts_of_an_atlas_are_taken(prepared, trained, logs):
    cells = logs.copy()
    cells.X = cells.layers["counts"]
    np.testing.assert_array_equal(sl.tl.embed(cells, trained).X, sl.tl.embed(prepared, trained).X)


def test_cells_that_were_not_prepared(prepared, trained):
    plain = ad.AnnData(prepared.X, obs=pd.DataFrame(index=prepared.obs_names), var=prepared.var)
    for function in (
        lambda: sl.tl.train(plain, model={"epochs": 1, "n_latent": 2}),
        lambda: sl.tl.evaluate(plain, trained, samples=2),
    ):
        with pytest.raises(InputError, match=r"^obs has no column 'split': pass prepared cells"):
            function()


def test_cells_of_a_notebook(tmp_path):
    cells = sl.data.simulate(120, 60, seed=0)
    want = sl.pp.prepare(cells)
    cells.write_h5ad(tmp_path / "a.h5ad")
    backed = sl.pp.prepare(ad.read_h5ad(tmp_path / "a.h5ad", backed="r"))
    assert (backed.X != want.X).nnz == 0
    with pytest.raises(InputError, match=r"^60 cell name.s. occur more than once, .*obs_names_make_unique"):
        sl.pp.prepare(ad.concat([cells[:60], cells[:60]], merge="same"))
    twice = cells.copy()
    twice.var_names = ["A", "A", *twice.var_names[2:]]
    with pytest.raises(InputError, match=r"^1 gene name.s. occur more than once, such as 'A': .*var_names_make_unique"):
        sl.pp.prepare(twice)
    with pytest.raises(InputError, match=r"^the cells have no X"):
        sl.pp.prepare(ad.AnnData(obs=cells.obs, var=cells.var))
