"""The map: groups that are apart come apart, any number of cells works, same latents give the same bytes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from sklearn.neighbors import NearestNeighbors

from sclatent import tl
from sclatent.settings import InputError, MapSettings


def latents(n: int, groups: int = 1, seed: int = 0) -> tuple[AnnData, np.ndarray]:
    rng = np.random.default_rng(seed)
    group = np.arange(n) % groups
    x = rng.normal(0, 1, (n, 5)) + 12 * np.eye(5)[group]
    return AnnData(x.astype(np.float32), obs=pd.DataFrame(index=[f"cell{i}" for i in range(n)])), group


def test_groups_that_are_apart_are_clusters_and_islands():
    latent, group = latents(300, groups=3)
    out = tl.map(latent, MapSettings(resolution=0.1))
    table = pd.crosstab(out.obs["leiden"].to_numpy(), group)
    assert table.shape == (3, 3)
    assert (table > 0).sum().sum() == 3
    xy = out.obsm["X_umap"]
    center = np.stack([xy[group == g].mean(axis=0) for g in range(3)])
    radius = max(np.linalg.norm(xy[group == g] - center[g], axis=1).mean() for g in range(3))
    gap = min(np.linalg.norm(center[a] - center[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert gap > 3 * radius


@pytest.mark.parametrize("n", [3, 4, 9, 12, 16])
def test_fewer_cells_than_neighbours(n):
    out = tl.map(latents(n)[0], MapSettings(n_neighbors=15))
    assert out.obsm["X_umap"].shape == (n, 2)
    assert np.isfinite(out.obsm["X_umap"]).all()
    assert out.obs["leiden"].notna().all()
    assert out.uns["neighbors"]["params"]["use_rep"] == "X_sclatent"


def test_too_few_cells_or_latents_that_are_not_finite_are_one_line():
    with pytest.raises(InputError, match=r"map: 2 cells are too few.*at least 3"):
        tl.map(latents(2)[0])
    broken = latents(20)[0]
    broken.X[3, 1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        tl.map(broken)


def test_of_many_cells_some_are_laid_out_and_the_others_join_them(monkeypatch):
    latent, group = latents(900, groups=3)
    monkeypatch.setattr("sclatent.tl._map.map.FITTED", 150)
    monkeypatch.setattr("sclatent.tl._map.inverted_file.LIST", 40)
    out, again = tl.map(latent), tl.map(latent)
    xy = out.obsm["X_umap"]
    assert np.array_equal(xy, again.obsm["X_umap"])
    assert np.isfinite(xy).all()
    center = np.stack([xy[group == g].mean(axis=0) for g in range(3)])
    nearest = np.linalg.norm(xy[:, None] - center, axis=2).argmin(axis=1)
    assert (nearest == group).mean() > 0.99
    # neighbours in the latent space are neighbours on the map, as well as where all cells were laid out at once
    monkeypatch.undo()
    whole = tl.map(latent)
    kept, expected = (_kept(adata) for adata in (out, whole))
    assert kept > 0.85 * expected
    # the graph is that of all cells
    np.testing.assert_allclose(out.obsp["distances"].toarray(), whole.obsp["distances"].toarray(), rtol=1e-6)
    # scanpy's UMAP takes weights below 1/500 out of the graph itself
    np.testing.assert_allclose((out.obsp["connectivities"] - whole.obsp["connectivities"]).data, 0, atol=1 / 500)
    assert out.uns.keys() == whole.uns.keys()
    assert out.uns["neighbors"] == whole.uns["neighbors"]
    # no cluster takes cells of two groups, and there are as many, or nearly
    assert (pd.crosstab(out.obs["leiden"].to_numpy(), group) > 0).sum(axis=1).max() == 1
    assert abs(out.obs["leiden"].nunique() - whole.obs["leiden"].nunique()) <= 2


def _kept(out: AnnData) -> float:
    """Return the share of neighbours in the latent space that are among the 30 nearest on the map."""
    near = NearestNeighbors(n_neighbors=31).fit(out.obsm["X_umap"]).kneighbors(return_distance=False)
    rows, columns = out.obsp["distances"].nonzero()
    return float(np.mean([column in near[row] for row, column in zip(rows, columns, strict=True)]))


def test_same_latents_same_bytes(tmp_path):
    for name in ("a", "b"):
        tl.map(latents(120, groups=2)[0]).write_h5ad(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_umap_is_compiled_once_not_in_every_process():
    from umap import umap_

    tl.map(latents(30)[0])
    for function in (umap_.smooth_knn_dist, umap_.compute_membership_strengths):
        assert function.stats.cache_path  # none where nothing is kept
        # sums in any order could differ between what was just compiled and what was kept
        assert not function.targetoptions.get("fastmath")


def test_axes_that_the_model_does_not_use_do_not_count():
    latent, _ = latents(300, groups=3)
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.09, (300, 27)).astype(np.float32)
    wide = AnnData(np.hstack([latent.X, noise]), obs=latent.obs)
    wide.var["active"] = np.arange(32) < 5
    alone, together = tl.map(latent), tl.map(wide)
    assert (alone.obsp["distances"] != together.obsp["distances"]).nnz == 0
    assert together.obsm["X_sclatent"].shape == (300, 32)
    wide.var["active"] = False
    assert np.isfinite(tl.map(wide).obsm["X_umap"]).all()


MAP_AND_MORE = """
import sys
import numpy as np, pandas as pd
from anndata import AnnData
from sclatent import tl

x = np.random.default_rng(0).normal(size=(300, 5)).astype("f4")
latent = AnnData(x, obs=pd.DataFrame(index=[f"cell{i}" for i in range(len(x))]))
if len(sys.argv) > 2:
    __import__(sys.argv[2])
tl.map(latent).write_h5ad(sys.argv[1])
print("pynndescent" in sys.modules)

# all that umap asks of pynndescent: to build an index, to know it again, its named distances
from umap import umap_
import pynndescent
assert isinstance(object.__new__(pynndescent.NNDescent), umap_.NNDescent) and not isinstance(x, umap_.NNDescent)
try:
    umap_.NNDescent(x, metric="no such")  # to build a right one would compile for minutes
except ValueError as error:
    last = error.__traceback__
    while last.tb_next:
        last = last.tb_next
    assert last.tb_frame.f_globals["__name__"].startswith("pynndescent"), error
else:
    raise AssertionError("built an index on a metric that does not exist")
names = umap_.pynn_named_distances
assert "euclidean" in names and "no such" not in names and len(names) == len(pynndescent.distances.named_distances)
assert names["euclidean"] is pynndescent.distances.named_distances["euclidean"]
assert set(umap_.pynn_sparse_named_distances) == set(pynndescent.sparse.sparse_named_distances)
"""


def test_the_map_does_not_wait_for_pynndescent_and_umap_has_it_when_asked(tmp_path):
    import subprocess
    import sys

    for name, first, loaded in (("a", [], "False"), ("b", ["umap"], "True")):
        done = subprocess.run(
            [sys.executable, "-c", MAP_AND_MORE, tmp_path / name, *first], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[0] == loaded
        assert (tmp_path / name).read_bytes() == (tmp_path / "a").read_bytes()
