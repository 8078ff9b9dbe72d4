"""What further latents, refined posteriors and other gradients do on real cells, and rates on simulated ones.

    python tests/benchmarks/randomness.py circle      # its angle, with and without its start, beside the cycle stage's
    python tests/benchmarks/randomness.py states      # ARI with labels; the validation ELBO chooses the setting
    python tests/benchmarks/randomness.py refined     # what refined posteriors add to the default
    python tests/benchmarks/randomness.py gradients   # variance of each objective, on demo, pbmc68k and ifnb
    python tests/benchmarks/randomness.py shares      # non-negative and simplex latents: LMS-SMI, LMS-SPN; held-out fit
    python tests/benchmarks/randomness.py bounds      # validation ELBO with other bounds of the log-normal
    python tests/benchmarks/randomness.py agreement   # mean gradients of dreg and iwae over 1,500 repeats
    python tests/benchmarks/randomness.py kinetics    # coverage and correlation on simulated cells
    python tests/benchmarks/randomness.py epochs      # CPU time of an epoch of each latent, over the default's

Every line of a table goes to stdout as soon as it is known.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
from _common import data_folder
from cycle import arc_accuracy, mean_cosine
from sklearn.metrics import adjusted_rand_score

import sclatent as sl
from sclatent.settings import DatasetSettings, ModelSettings
from sclatent.tl._model.train import TrainedModel

SEEDS = (0, 1, 2)
REAL: dict[str, tuple[str, dict[str, Any]]] = {
    "ipsc": ("ipsc_fucci", {"library_size": "n_molecules_all_genes"}),
    "mls": ("mls_sorted_ensembl", {"genes": {"symbols": "gene_symbol"}}),
    "h1": ("h1_fucci_sorted_247", {"library_size": "n_reads_all_genes"}),
    "ifnb": ("pbmc_ifnb_two_batches", {"batch": "condition"}),
    "pbmc68k": ("pbmc68k_reduced_counts", {"library_size": "n_umi_all_genes"}),
    "citeseq": ("pbmc_citeseq_two_batches", {"batch": "batch"}),
    "lung3cl": ("lung3cl_celseq2_dropseq", {"batch": "batch"}),
}


def show(*cells: object) -> None:
    """Print a line of a Markdown table."""
    print("| " + " | ".join(f"{c:.3f}" if isinstance(c, float) else str(c) for c in cells) + " |", flush=True)


def prepared_set(name: str) -> tuple[ad.AnnData, DatasetSettings]:
    """One set, prepared with at most 1,000 variable genes; ``simulator`` and ``demo`` are simulated."""
    if name in ("simulator", "demo"):
        counts, more = sl.simulate(seed=0), {"batch": "batch"}
    else:
        file, more = REAL[name]
        counts = ad.read_h5ad(data_folder() / f"{file}.h5ad")
    genes = {"n_top": 1000} | more.get("genes", {})
    given = {"name": name, "file": name, "counts": "-", **more, "genes": genes}
    settings = DatasetSettings.model_validate(given)
    return sl.pp.prepare(counts, **settings.parts(sl.pp.prepare)), settings


def trained_on(prepared: ad.AnnData, settings: DatasetSettings, model: dict, seed: int, **more: Any) -> TrainedModel:
    """Train one model."""
    chosen = ModelSettings.model_validate(model)
    return sl.tl.train(prepared, model=chosen, seed=seed, **settings.parts(sl.tl.train), **more)


def circle() -> None:
    """Agreement of the circle's angle with the truth: of all cells, and of the test cells."""
    show("set", "seed", "method", "all cells", "test cells")
    for name, truth in (("ipsc", "fucci_theta"), ("mls", "phase_sorted"), ("h1", "phase_sorted")):
        prepared, settings = prepared_set(name)
        stage = sl.tl.cycle(prepared, **settings.parts(sl.tl.cycle))
        labels = prepared.obs[truth].to_numpy()
        test = (prepared.obs["split"] == "test").to_numpy()

        def judge(angle: np.ndarray, cells: np.ndarray, labels: np.ndarray = labels, name: str = name) -> float:
            if name == "ipsc":
                return mean_cosine(labels[cells].astype(float), angle[cells])
            return arc_accuracy(angle[cells], labels[cells])

        every = np.ones(len(test), dtype=bool)
        angle = stage.obs["cycle_angle"].to_numpy(float)
        show(name, "", "cycle stage", judge(angle, every), judge(angle, test))
        for seed in SEEDS:
            for start in (stage, None):
                latent = {"gaussian": 15, "circle": 1}
                found = trained_on(prepared, settings, {"latent": latent}, seed, start=start)
                angle = found.vae.posterior(sl.tl.inputs(prepared, found.card))[0][:, -1]
                how = "circle" if start is not None else "circle, started at random"
                show(name, seed, how, judge(angle, every), judge(angle, test))


STATES: tuple[dict, ...] = tuple(
    {"latent": {"kind": "states", "temperature": t}, "n_latent": n, "decoder": d}
    for n in (8, 12)
    for t in (0.3, 0.5)
    for d in ("mlp", "linear")
)


def states() -> None:
    """ARI of the states with labels; which setting is used is decided by the validation ELBO before the refit."""
    show("set", "seed", "setting", "validation ELBO", "states in use", "ARI")
    for name, truth in (("pbmc68k", "bulk_labels"), ("simulator", "cell_type")):
        prepared, settings = prepared_set(name)
        labels = prepared.obs[truth].astype(str)
        best: dict[str, list[tuple[float, float]]] = {}
        for seed in SEEDS:
            for setting in STATES:
                found = trained_on(prepared, settings, setting, seed)
                latent = sl.tl.embed(prepared, found)
                elbo = sl.tl.evaluate(prepared, found, latent=latent, samples=20)["validation"]["elbo"]
                used = latent.obs["state"].nunique()
                ari = float(adjusted_rand_score(labels, latent.obs["state"]))
                what = f"{setting['n_latent']} states, τ {setting['latent']['temperature']}, {setting['decoder']}"
                best.setdefault(what, []).append((elbo, ari))
                show(name, seed, what, float(elbo), used, ari)
        chosen = max(best, key=lambda what: np.mean([elbo for elbo, _ in best[what]]))
        show(name, "all", f"chosen: {chosen}", "", "", float(np.mean([ari for _, ari in best[chosen]])))


def refined() -> None:
    """Gain of the marginal of test cells under refined posteriors, and CPU milliseconds per cell."""
    show("set", "seed", "gain", "SE", "ms per cell")
    for name in ("ifnb", "citeseq", "pbmc68k"):
        prepared, settings = prepared_set(name)
        for seed in SEEDS:
            found = trained_on(prepared, settings, {}, seed)
            gained = sl.tl.evaluate(prepared, found, refine=60)["refined"]
            begun = time.process_time()
            sl.tl.refine(prepared[prepared.obs["split"] == "test"].copy(), found)
            ms = 1000 * (time.process_time() - begun) / gained["n_cells"]
            show(name, seed, gained["gain"], gained["gain_se"], float(ms))


def gradients() -> None:
    """Variance of each objective's gradient over the pathwise ELBO's, and the sources of a step's noise."""
    for name in ("demo", "pbmc68k", "ifnb"):
        prepared, settings = prepared_set(name)
        found = trained_on(prepared, settings, {}, 0)
        begun = time.process_time()
        table = sl.tl.gradient_variance(prepared, found, repeats=40, moments=("start", "tenth", "end"))
        noise = sl.tl.gradient_noise(prepared, found)
        print(f"{name}: {time.process_time() - begun:.0f} s of CPU")
        print(table.to_csv(sep="\t", index=False, float_format="%.4g"))
        print(noise.to_csv(sep="\t", index=False, float_format="%.3g"), flush=True)


SHARES = ("gaussian", "lognormal", "gamma", "dirichlet", "logistic-normal")


def shares() -> None:
    """How much each axis of non-negative and simplex latents is one thing, and the held-out fit."""
    from sclatent.tl._axes.disentangle import disentanglement

    show("set", "seed", "latent", "LMS-SMI", "LMS-SPN", "test marginal")
    for name, truth in (("pbmc68k", "bulk_labels"), ("lung3cl", "cell_line")):
        prepared, settings = prepared_set(name)
        for seed in SEEDS:
            for kind in SHARES:
                found = trained_on(prepared, settings, {"latent": kind}, seed)
                latent = sl.tl.embed(prepared, found)
                used = latent.X[:, latent.var["active"].to_numpy()]
                scores = disentanglement(used, prepared.obs[truth].astype(str).to_numpy())
                marginal = sl.tl.evaluate(prepared, found, latent=latent)["test"]["marginal"]
                show(name, seed, kind, float(scores["LMS-SMI"]), float(scores["LMS-SPN"]), float(marginal))


BOUNDS = ((1.0, 1.0), (2.0, 0.5), (2.0, 1.0), (2.0, 2.0), (3.0, 1.0), (5.0, 3.0))


def bounds() -> None:
    """Validation ELBO of the log-normal with other bounds of |μ| and σ; the first is that of its settings."""
    from sclatent.model.parts.latents import positive

    show("set", "seed", "decoder", "|μ| ≤", "σ ≤", "validation ELBO")
    for name in ("pbmc68k", "simulator"):
        prepared, settings = prepared_set(name)
        for decoder in ("mlp", "linear"):
            for seed in SEEDS[:2]:
                for positive.LARGEST_MU, positive.LARGEST_SIGMA in BOUNDS:
                    model = {"latent": "lognormal", "decoder": decoder, "refit": False}
                    found = trained_on(prepared, settings, model, seed)
                    elbo = sl.tl.evaluate(prepared, found, samples=20)["validation"]["elbo"]
                    show(name, seed, decoder, positive.LARGEST_MU, positive.LARGEST_SIGMA, float(elbo))


def agreement() -> None:
    """Whether the mean gradient of dreg is that of iwae: 1 where it is, with the p of more by chance."""
    show("set", "moment", "group", "agreement", "p")
    for name in ("pbmc68k", "simulator"):
        prepared, settings = prepared_set(name)
        found = trained_on(prepared, settings, {"n_hidden": 32, "n_latent": 8}, 0)
        objectives = [{"kind": "dreg", "draws": 8}]
        moments = ("start", "tenth", "end")
        table = sl.tl.gradient_variance(prepared, found, objectives=objectives, repeats=1500, moments=moments, seed=5)
        for row in table.itertuples():
            show(name, row.moment, row.group, float(row.agreement), float(row.p))


def kinetics() -> None:
    """Coverage of the 90 % intervals, r with the true log rates, CPU seconds; Poisson, and negative binomial."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))
    from kinetics_world import world

    show("seed", "θ", "rate", "coverage", "r", "seconds")
    for seed in SEEDS:
        for theta in (None, 2.0):
            cells = world(seed=seed, theta=theta)
            begun = time.process_time()
            table = sl.tl.kinetics(cells, library="size")
            seconds = time.process_time() - begun
            for rate in ("splicing", "degradation"):
                truth = cells.var[rate]
                inside = float(((table[f"{rate}_low"] <= truth) & (truth <= table[f"{rate}_high"])).mean())
                r = float(np.corrcoef(np.log(truth), np.log(table[rate]))[0, 1])
                show(seed, theta or "Poisson", rate, inside, r, float(seconds))


EPOCHS = (2, 12)


def epochs() -> None:
    """CPU time of an epoch of each latent over the default's a longer training less a short; three turns."""
    from sclatent.settings.kinds.parts import LATENTS

    prepared, settings = prepared_set("demo")

    def seconds(kind: str | dict) -> float:
        marks = [time.process_time()]
        for n in EPOCHS:
            trained_on(prepared, settings, {"latent": kind, "epochs": n, "refit": False}, 0)
            marks.append(time.process_time())
        return float(np.diff(marks, 2)[0]) / (EPOCHS[1] - EPOCHS[0])

    seconds("gaussian")  # compiles
    show("latent", "seconds", "over the default, of the turns")
    for kind in (*LATENTS, {"gaussian": 31, "circle": 1}):
        trained_on(prepared, settings, {"latent": kind, "epochs": EPOCHS[0], "refit": False}, 0)  # compiles
        turns = [(seconds("gaussian"), seconds(kind)) for _ in range(3)]
        ratios = sorted(other / default for default, other in turns)
        show(kind, float(np.median([other for _, other in turns])), *ratios)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = {
        one.__name__: one for one in (circle, states, refined, gradients, shares, bounds, agreement, kinetics, epochs)
    }
    parser.add_argument("what", choices=list(tables), nargs="+")
    for what in parser.parse_args().what:
        tables[what]()
