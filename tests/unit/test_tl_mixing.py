"""Mixing of batches and conservation of labels, against cases with a known answer."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from sclatent import tl
from sclatent.settings import DatasetSettings
from sclatent.tl._axes.mixing import _kernel, lisi, neighbor_accuracy, neighbor_entropy, neighbors


def around(z, codes, n=90):
    index, distance = neighbors(z, n)
    return lisi(index, distance, codes), neighbor_entropy(index[:, :30], codes)


@pytest.fixture
def cloud():
    return np.random.default_rng(0).normal(size=(1500, 3))


def test_random_batches_mix_and_separate_ones_do_not(cloud):
    codes = np.random.default_rng(1).integers(0, 3, 1500)
    effective, entropy = around(cloud, codes)
    assert 2.6 < np.median(effective) <= 3
    assert entropy > 0.95
    effective, entropy = around(cloud + 100 * codes[:, None], codes)
    np.testing.assert_allclose(effective, 1)
    assert entropy == pytest.approx(0, abs=1e-9)


def test_unequal_batches_that_mix_perfectly_reach_one(cloud):
    codes = (np.random.default_rng(2).random(1500) < 0.1).astype(int)
    assert around(cloud, codes)[1] == pytest.approx(1, abs=0.08)


def test_kernel_has_the_perplexity_asked_for(cloud):
    _, distance = neighbors(cloud, 90)
    weights = _kernel(distance, 30)
    np.testing.assert_allclose(np.exp(-(weights * np.log(weights)).sum(axis=1)), 30, rtol=1e-6)
    assert (np.diff(weights, axis=1) <= 1e-12).all(), "the nearest weigh most"


def test_lisi_of_equal_weights_is_the_inverse_simpson_index():
    index = np.array([[1, 2, 3, 4, 5, 6]] * 7)
    codes = np.array([0, 0, 0, 0, 1, 1, 2])
    share = np.array([3, 2, 1]) / 6
    assert lisi(index, np.ones((7, 6)), codes)[0] == pytest.approx(1 / (share**2).sum())


def test_neighbors_leave_out_the_cell_itself(cloud):
    index, _ = neighbors(cloud, 5)
    assert not (index == np.arange(1500)[:, None]).any()
    np.testing.assert_array_equal(
        index[0], np.argsort(((cloud - cloud[0]) ** 2).sum(1))[1:6], err_msg="against brute force"
    )


def test_accuracy_is_the_share_with_like_neighbours():
    index = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    assert neighbor_accuracy(index, np.array([0, 0, 0, 1])) == pytest.approx(0.75)


def test_measures_by_column(cloud):
    rng = np.random.default_rng(3)
    kind = np.repeat(["a", "b"], 750)
    cloud[:750] += 20
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical(rng.choice(["x", "y"], 1500)),
            "kind": pd.Categorical(kind),
            "age": rng.normal(size=1500),
        },
        index=[f"c{i}" for i in range(1500)],
    )
    latent = ad.AnnData(cloud, obs=pd.DataFrame(index=obs.index), var=pd.DataFrame({"active": [True, True, False]}))
    settings = DatasetSettings(name="t", file="t.yaml", counts=[{"path": "-"}], batch="batch", labels=["kind", "age"])
    found = tl.mixing(latent, ad.AnnData(np.ones((1500, 1)), obs=obs), **settings.parts(tl.mixing))
    assert set(found) == {"batch_entropy_batch", "ilisi_batch", "clisi_kind", "label_accuracy_kind"}
    assert found["ilisi_batch"] > 0.8
    assert found["clisi_kind"] == pytest.approx(1)
    assert found["label_accuracy_kind"] == 1


@pytest.mark.parametrize("gap", [False, True])
def test_a_label_is_measured_whatever_its_type_and_gaps(cloud, gap):
    kind = np.repeat([3, 7], 750)
    cloud[:750] += 20
    known = np.arange(1500) % 10 > 0 if gap else np.ones(1500, dtype=bool)
    obs = pd.DataFrame(
        {
            "float": np.where(known, kind, np.nan),
            "nullable": pd.array(np.where(known, kind, None), dtype="Int64"),
            "text": np.where(known, kind.astype(str), None),
            "category": pd.Categorical(np.where(known, kind, None)),
            "truth": pd.array(np.where(known, kind == 3, None), dtype="boolean"),
        },
        index=[f"c{i}" for i in range(1500)],
    )
    latent = ad.AnnData(cloud, obs=pd.DataFrame(index=obs.index), var=pd.DataFrame({"active": [True] * 3}))
    settings = DatasetSettings(name="t", file="t.yaml", counts=[{"path": "-"}], labels=list(obs))
    found = tl.mixing(latent, ad.AnnData(np.ones((1500, 1)), obs=obs), **settings.parts(tl.mixing))
    assert {found[f"clisi_{name}"] for name in obs} == {found["clisi_text"]}
    assert {found[f"label_accuracy_{name}"] for name in obs} == {1.0}
