"""New cells in the axes of a saved model; cells decoded as if from another batch."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from sclatent import tl
from sclatent.data import simulate
from sclatent.settings import DatasetSettings, InputError


@pytest.fixture(scope="module")
def trained():
    adata = simulate(n_cells=700, n_genes=200, median_library=4000, seed=0)
    adata.obs["split"] = np.where(np.arange(700) < 600, "train", np.where(np.arange(700) < 650, "validation", "test"))
    adata.obs["library_size"] = np.asarray(adata.X.sum(axis=1)).ravel()
    adata.obs["age"] = np.random.default_rng(0).normal(50, 10, 700)
    adata.var["in_model"] = True
    settings = DatasetSettings(
        name="toy",
        file="toy.yaml",
        counts=[{"path": "-"}],
        batch="batch",
        covariates="age",
        models={"m": {"decoder": "linear", "n_latent": 5, "epochs": 40, "batch_size": 64}},
    )
    return adata, tl.train(adata, model=settings.models["m"], seed=0, **settings.parts(tl.train))


def test_the_training_cells_come_to_lie_where_they_were(trained):
    adata, model = trained
    shuffled = adata[:, np.random.default_rng(1).permutation(adata.n_vars)].copy()
    found = tl.query(shuffled, model)
    np.testing.assert_allclose(found.X, tl.embed(adata, model).X, atol=1e-5)
    assert len(found.uns["query"]["missing"]) == 0


def test_missing_genes_are_expected_and_reported(trained):
    adata, model = trained
    whole = tl.embed(adata, model).X
    gone = np.random.default_rng(2).choice(200, 60, replace=False)
    rest = adata[:, np.setdiff1d(np.arange(200), gone)].copy()
    found = tl.query(rest, model)
    assert sorted(found.uns["query"]["missing"]) == sorted(adata.var_names[gone])
    share = adata[:, gone].X.sum() / adata.X.sum()
    assert found.uns["query"]["expected_share"] == pytest.approx(share, abs=0.03)
    zeros = adata.copy()
    dense = zeros.X.toarray()
    dense[:, gone] = 0
    zeros.X = csr_matrix(dense)
    distance = np.sqrt(((found.X - whole) ** 2).mean())
    assert distance < 0.7 * np.sqrt(((tl.query(zeros, model).X - whole) ** 2).mean()), "better than taking them as 0"
    strength = [abs(np.corrcoef(found.X[:, k], whole[:, k])[0, 1]) for k in range(5) if found.var["active"].iloc[k]]
    assert max(strength) > 0.9


def test_after_saving_and_loading(trained, tmp_path):
    adata, model = trained
    model.save(tmp_path)
    again = tl.query(adata[:50].copy(), tl.TrainedModel.load(tmp_path))
    np.testing.assert_array_equal(again.X, tl.query(adata[:50].copy(), model).X)


def test_an_unseen_level_is_one_line_or_the_average(trained):
    adata, model = trained
    new = adata[:20].copy()
    new.obs["batch"] = "batch9"
    with pytest.raises(
        InputError, match=r"column 'batch' holds 'batch9'.*never saw \(known: batch1, batch2\)"
    ) as caught:
        tl.query(new, model)
    assert "\n" not in str(caught.value)
    found = tl.query(new, model, unseen="average")
    assert list(found.uns["query"]["unseen"]["batch"]) == ["batch9"]
    with pytest.raises(InputError, match=r"unseen: no kind 'avrage' \(did you mean 'average'\?\)"):
        tl.query(new, model, unseen="avrage")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a.var_names.__class__([f"x{i}" for i in range(a.n_vars)]), "none of the model's 200 genes"),
        (lambda a: a.var_names.__class__([a.var_names[0]] * 2 + list(a.var_names[2:])), "occurs twice"),
    ],
)
def test_gene_names_that_do_not_fit_are_one_line(trained, change, said):
    adata, model = trained
    new = adata[:5].copy()
    new.var_names = change(new)
    with pytest.raises(InputError, match=said):
        tl.query(new, model)


def test_fractions_and_missing_columns_are_one_line(trained):
    adata, model = trained
    new = adata[:5].copy()
    new.X = new.X * 0.5
    with pytest.raises(InputError, match="no count"):
        tl.query(new, model)
    new = adata[:5].copy()
    del new.obs["batch"]
    with pytest.raises(InputError, match="obs has no column 'batch'"):
        tl.query(new, model)


def test_decoded_as_if_from_a_batch(trained):
    adata, model = trained
    z = tl.embed(adata, model).X[:30]
    one, two = (tl.decode(z, model, levels={"batch": b}) for b in ("batch1", "batch2"))
    np.testing.assert_allclose(one.sum(axis=1), 1, rtol=1e-4)
    change = np.log(one.to_numpy() / two.to_numpy()).mean(axis=0)
    truth = adata.varm["simulated_batch"] @ np.array([1.0, -1.0])
    assert np.corrcoef(change, truth)[0, 1] > 0.7
    older = tl.decode(z, model, covariates={"age": 70.0})
    assert not np.allclose(older, tl.decode(z, model))
    with pytest.raises(InputError, match=r"no level 'batch3'.*did you mean"):
        tl.decode(z, model, levels={"batch": "batch3"})
    with pytest.raises(InputError, match="not conditioned on 'donor'"):
        tl.decode(z, model, levels={"donor": "a"})


def test_more_axes_than_genes_is_one_line(trained):
    adata, _ = trained
    few = adata[:, :6].copy()
    with pytest.raises(InputError, match=r"models\.m\.n_latent: 10 axes for 6 genes: set n_latent to 6 or less"):
        tl.train(few, model={"n_latent": 10}, name="m")
