"""A source of counts from outside the package: rows that stay on disk until a batch asks for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from sclatent.model import CountData, CountSource, CountVAE, Rows, train_vae
from sclatent.model.training import checkpoint
from sclatent.settings import InputError, ModelSettings


class OnDisk(CountSource):
    """Three arrays in a folder; a batch reads its own rows."""

    def __init__(self, folder: Path, n_genes: int) -> None:
        self.folder, self.n_genes = folder, n_genes
        self.parts = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("indptr", "indices", "data")]
        self.most = 0

    @classmethod
    def write(cls, folder: Path, matrix: csr_matrix) -> OnDisk:
        folder.mkdir(parents=True)
        for name in ("indptr", "indices", "data"):
            np.save(folder / f"{name}.npy", getattr(matrix, name))
        return cls(folder, matrix.shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.parts[0]) - 1, self.n_genes

    def rows(self, index: np.ndarray) -> Rows:
        indptr, indices, data = self.parts
        self.most = max(self.most, len(index))
        at = [np.arange(indptr[i], indptr[i + 1]) for i in index]
        offsets = np.concatenate([[0], np.cumsum([len(one) for one in at])])
        flat = np.concatenate(at) if at else np.empty(0, np.int64)
        return Rows.of(csr_matrix((data[flat], indices[flat], offsets), shape=(len(index), self.n_genes)))

    def fingerprint(self) -> str:
        return f"{self.folder} {self.shape} {float(self.parts[2].sum())}"


def matrix(n: int = 240, genes: int = 50) -> csr_matrix:
    rng = np.random.default_rng(0)
    fraction = rng.dirichlet(np.full(genes, 0.3), 2)[rng.integers(2, size=n)]
    return csr_matrix(rng.poisson(60 * fraction).astype(np.float32))


@pytest.mark.parametrize("decoder", ["mlp", "additive"])
def test_the_bytes_of_a_model_do_not_depend_on_where_the_counts_are(decoder: str, tmp_path: Path) -> None:
    """By the compiled step, and through autograd."""
    counts = matrix()
    library = np.asarray(counts.sum(1)).ravel()
    source = OnDisk.write(tmp_path / "counts", counts)
    settings = ModelSettings(n_latent=3, n_hidden=16, epochs=6, decoder=decoder)
    found = []
    for where in (counts, source):
        data = CountData(where, library)
        vae, history = train_vae(data, np.arange(40, 240), np.arange(40), settings, seed=2, threads=2)
        some = data.subset(np.arange(3, 90, 2))
        found.append((vae, history, *vae.along_axes(data), *vae.along_axes(some)))
    (one, history, *arrays), (other, again, *others) = found
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert history.equals(again)
    for a, b in zip(arrays, others, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_batch_reads_no_more_than_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CountSource, "at_once", 16)
    source = OnDisk.write(tmp_path / "counts", matrix())
    data = CountData(source, np.asarray(matrix().sum(1)).ravel())
    settings = ModelSettings(n_latent=2, n_hidden=8, epochs=2, batch_size=16)
    vae, _ = train_vae(data, np.arange(200), np.arange(0), settings)
    assert source.most == 16
    assert isinstance(vae, CountVAE)


def test_a_training_goes_on_only_with_the_same_counts(tmp_path: Path) -> None:
    library = np.asarray(matrix().sum(1)).ravel()
    other = matrix()
    other.data[5] += 1
    keys = {
        checkpoint.key_of(CountData(where, library), "settings")
        for where in (
            OnDisk.write(tmp_path / "a", matrix()),
            OnDisk.write(tmp_path / "b", other),
            OnDisk(tmp_path / "a", 50).subset(np.arange(240)[::-1]),
            matrix(),
            other,
        )
    }
    assert len(keys) == 5


def test_what_is_no_count_is_named(tmp_path: Path) -> None:
    bad = matrix()
    at = bad.indptr[100] + 1
    bad.data[at] = -2
    data = CountData(OnDisk.write(tmp_path / "counts", bad), np.full(240, 60.0))
    with pytest.raises(InputError, match=f"1 value.*in cell 100, gene {bad.indices[at]} \\(-2\\)"):
        train_vae(data, np.arange(200), np.arange(0), ModelSettings())
    with pytest.raises(TypeError, match="CSR matrix or a CountSource"):
        CountData(bad.toarray(), np.full(240, 60.0))
