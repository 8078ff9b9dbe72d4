"""scVI beside ours, in an environment that has scvi-tools and not this package: cells drawn, and a label switched.

Called by ``samples.py --peer-python``: reads cells to train on, writes arrays.
"""

from __future__ import annotations

import argparse

import anndata as ad
import numpy as np
import scvi
import torch

PER, DRAWS = 1e4, 8


def main() -> None:
    """Train scVI with its defaults and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--training", required=True)
    parser.add_argument("--column", required=True, help="of obs: scVI's batch key")
    parser.add_argument("--cells", type=int, required=True, help="drawn for each seed")
    parser.add_argument("--seeds", nargs="+", type=int, required=True)
    parser.add_argument("--switch", default="", help="cells to decode under each level")
    parser.add_argument("--levels", nargs="*", default=[])
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    scvi.settings.seed, scvi.settings.verbosity = 0, 40
    cells = ad.read_h5ad(args.training)
    scvi.model.SCVI.setup_anndata(cells, batch_key=args.column)
    model = scvi.model.SCVI(cells)
    model.train(accelerator="cpu", enable_progress_bar=False)
    out: dict[str, np.ndarray] = {"epochs": np.array(len(model.history["elbo_train"]))}
    for seed in args.seeds:
        scvi.settings.seed = seed
        rows = np.random.default_rng(seed).choice(cells.n_obs, args.cells, replace=args.cells > cells.n_obs)
        drawn = model.posterior_predictive_sample(indices=rows, n_samples=1)
        out[f"drawn_{seed}"] = np.asarray(drawn.todense() if hasattr(drawn, "todense") else drawn).reshape(
            len(rows), -1
        )
    if args.switch:
        others = ad.read_h5ad(args.switch)
        sizes = {"library_size": PER, "n_samples": DRAWS, "return_numpy": True, "return_mean": True}
        for level in args.levels:
            rates = model.get_normalized_expression(others, transform_batch=level, **sizes)
            out[f"as_{level}"] = np.asarray(rates).mean(axis=0)
    np.savez(args.out, **out)


if __name__ == "__main__":
    main()
