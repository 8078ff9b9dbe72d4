"""How much of the true cell-cycle programs of the simulated demo one latent axis carries.

    make demo && python tests/benchmarks/demo_axes.py results/demo/nb/atlas.h5ad

Prints, for the true S and G2/M program, the best single axis and what the best linear combination of all posterior
means reaches beside it: the ridge prediction of each cell by a fit to the other cells (10-fold).
"""

from __future__ import annotations

import argparse

import anndata as ad
import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict

from sclatent.data import slots

PROGRAMS = {"S": slots.TRUE_S, "G2/M": slots.TRUE_G2M}


def report(atlas: ad.AnnData) -> list[tuple[str, str, float, float]]:
    """Return (program, best axis, its |Spearman|, that of the best linear combination)."""
    latent = atlas.obsm[slots.X_LATENT]
    rows = []
    for program, column in PROGRAMS.items():
        truth = atlas.obs[column].to_numpy()
        single = np.abs([spearmanr(axis, truth).statistic for axis in latent.T])
        model = RidgeCV(np.logspace(-3, 3, 13))
        combined = cross_val_predict(model, latent, truth, cv=KFold(10, shuffle=True, random_state=0))
        best = int(single.argmax())
        rows.append((program, f"axis_{best + 1}", single[best], abs(spearmanr(combined, truth).statistic)))
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("atlas", nargs="?", default="results/demo/nb/atlas.h5ad")
    atlas = ad.read_h5ad(parser.parse_args().atlas)
    print(f"{'program':<8} {'best axis':<10} {'|rho|':>6} {'all axes':>9} {'share':>6}")
    for program, axis, one, all_axes in report(atlas):
        print(f"{program:<8} {axis:<10} {one:6.3f} {all_axes:9.3f} {one / all_axes:6.1%}")


if __name__ == "__main__":
    main()
