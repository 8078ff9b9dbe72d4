"""What the benchmarks share: the development data, the peers' gene lists and test cells."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from sclatent.model import CountData, CountVAE
from sclatent.model.training.schedule import refit_epochs
from sclatent.model.training.trainer import refit_vae

ROOT = Path(__file__).resolve().parents[2]
PEER_SETS = ("pbmc_ifnb_two_batches", "pbmc_citeseq_two_batches", "lung3cl_celseq2_dropseq")
"""The three sets on which all peers were measured."""


def data_folder() -> Path:
    """Folder of the real data: $SCLATENT_TEST_DATA, or ``../shared/data`` beside the project."""
    return Path(os.environ.get("SCLATENT_TEST_DATA", ROOT.parent / "shared" / "data"))


def peers_folder() -> Path:
    """Folder of the peers' gene lists and results: $SCLATENT_PEERS, or beside the data."""
    return Path(os.environ.get("SCLATENT_PEERS", data_folder().parent / "reference" / "peers"))


def peer_results() -> pd.DataFrame:
    """Every measured value of the peers: task, dataset, method, seed, measure, value."""
    return pd.read_csv(peers_folder() / "results.tsv", sep="\t")


def load(name: str) -> ad.AnnData:
    """One development set with the peers' genes: counts as CSR float32, cells in file order."""
    adata = ad.read_h5ad(data_folder() / f"{name}.h5ad")
    genes = (peers_folder() / f"{name}.txt").read_text().split()
    adata = adata[:, genes].copy()
    adata.X = csr_matrix(adata.X, dtype=np.float32)
    return adata


def refitted(
    vae: CountVAE,
    data: CountData,
    train: np.ndarray,
    validation: np.ndarray,
    epochs: int,
    *,
    seed: int,
    threads: int = 1,
) -> CountVAE:
    """Go on from a training of so many epochs with its validation cells, as the train stage does."""
    both = np.sort(np.concatenate([train, validation]))
    return refit_vae(vae, data, both, refit_epochs(len(both), epochs), seed=seed, threads=threads) or vae


def run_missing(
    out: Path, columns: list[str], tasks: Iterable[tuple[str | int | float, ...]], one: Callable[..., pd.DataFrame]
) -> None:
    """Add ``one(*task)`` to the table `out` for every task that it does not hold yet; `columns` are a task's."""
    for task in tasks:
        done = pd.read_csv(out, sep="\t") if out.exists() else None
        if done is None or not (done[columns] == list(task)).all(axis=1).any():
            found = one(*task)
            found.to_csv(out, sep="\t", index=False, mode="a", header=done is None, float_format="%.10g")


def test_cells(n: int) -> np.ndarray:
    """Positions of the peers' test cells: the first tenth of a fixed permutation."""
    return np.random.default_rng(0).permutation(n)[: n // 10]


def peer_split(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """The peers' test cells, and a tenth of the others (drawn by `seed`) as validation cells."""
    order = np.random.default_rng(0).permutation(n)
    test, others = order[: n // 10], order[n // 10 :]
    shuffled = np.random.default_rng(seed + 1).permutation(others)
    n_validation = len(others) // 10
    return {"train": shuffled[n_validation:], "validation": shuffled[:n_validation], "test": test}
