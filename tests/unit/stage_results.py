"""What every stage writes, on inputs that no other stage made, told by a few numbers; ``--write`` records them.

A number of a stage (`sclatent.bridge.VERSIONS`) says that its results have changed, and makes those of users anew.
``stage_results.json`` holds the numbers and what the stages wrote then, so that a change without a new number is seen.
The arithmetic of another processor or thread count differs in the last digits, so results are compared with a
tolerance; other versions of the libraries change more than that, so then nothing is compared.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pl_arrays
from anndata import AnnData
from paths_world import make_world, true_cycle
from scipy import sparse

import sclatent as sl
from sclatent.bridge import VERSIONS

TABLE = Path(__file__).with_name("stage_results.json")
LIBRARIES = (
    *("anndata", "matplotlib", "numba", "numpy", "pandas"),
    *("scanpy", "scikit-learn", "scipy", "torch", "umap-learn"),
)
FEW = 12
"""Text with so few values is counted, since one cell may be called otherwise elsewhere; other text is compared."""
TOLERANCE = 2e-3
CHAOTIC = {"X_umap"}
"""Small differences grow in these, so only their size is compared."""


def libraries() -> dict[str, str]:
    return {"python": platform.python_version()[:4]} | {name: version(name) for name in LIBRARIES}


# what results are told by


def tell(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a few numbers for every array, column and figure of `value`."""
    if isinstance(value, AnnData):
        parts: dict[str, Any] = {} if value.X is None else {"X": value.X}
        parts |= {key: getattr(value, key) for key in ("obs", "var", "uns")}
        for slot in ("layers", "obsm", "varm", "obsp"):
            parts |= {f"{slot}.{key}": array for key, array in dict(getattr(value, slot)).items()}
        yield from tell(parts, name)
    elif isinstance(value, pd.DataFrame):
        yield from tell({"index": np.asarray(value.index.astype(str)), **{str(c): value[c] for c in value}}, name)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from tell(inner, f"{name}.{key}" if name else str(key))
    elif hasattr(value, "get_axes"):
        yield from tell(_drawn(value), name)
    elif value is not None:
        yield name, _of_array(value, chaotic=name.rpartition(".")[2] in CHAOTIC)


def _of_array(value: Any, *, chaotic: bool) -> dict[str, Any]:
    array = np.asarray(value.toarray() if sparse.issparse(value) else value)
    if chaotic:
        return {"shape": list(array.shape)}
    if array.dtype.kind in "biuf":
        flat = array.astype(np.float64).ravel()
        known = np.isfinite(flat)
        weight = np.modf(np.arange(flat.size) * 0.6180339887498949)[0]
        numbers = [f(flat[known]) if known.any() else 0.0 for f in (np.mean, np.std)]
        numbers.append(float(np.mean(np.where(known, flat, 0) * weight)) if flat.size else 0.0)
        missing = int((~known).sum())
        return {"shape": list(array.shape), "missing": missing, "numbers": [float(f"{x:.5g}") for x in numbers]}
    text = pd.Series(array.ravel()).fillna("").astype(str)
    counts = text.value_counts().sort_index()
    if len(counts) <= FEW < len(text):
        return {"counts": {str(key): int(n) for key, n in counts.items()}}
    return {"text": hashlib.sha256("\n".join(text).encode()).hexdigest()[:16]}


def _drawn(figure: Any) -> dict[str, Any]:
    """Return the words of a figure, and where and in which colours its points, lines and areas are."""
    from matplotlib.colors import to_rgba

    words: list[str] = []
    window, lines, points, colors = [], [], [], []
    for axes in figure.get_axes():
        words += [axes.get_title(), axes.get_xlabel(), axes.get_ylabel(), *(text.get_text() for text in axes.texts)]
        window += [*axes.get_xlim(), *axes.get_ylim()]
        lines += [np.ravel(line.get_xydata()) for line in axes.lines]
        points += [np.ravel(made.get_offsets()) for made in axes.collections]
        colors += [to_rgba(line.get_color()) for line in axes.lines] + [patch.get_facecolor() for patch in axes.patches]
        colors += [color for made in axes.collections for color in made.get_facecolor()]
    drawn = {"words": "\n".join(words), "size": figure.get_size_inches(), "window": np.array(window, dtype=float)}
    joined = {"lines": np.concatenate([*lines, []]), "points": np.concatenate([*points, []])}
    return drawn | joined | {"colors": np.array(colors)}


def differences(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """Return what is not as it was."""
    out = [f"{name} is {'new' if name in now else 'gone'}" for name in sorted({*now} ^ {*then})]
    return out + [name for name in now if name in then and not _same(now[name], then[name])]


def _same(now: Mapping[str, Any], then: Mapping[str, Any]) -> bool:
    if {*now} != {*then}:
        return False
    if "counts" in now:
        a, b = (pd.Series(x["counts"], dtype=float) for x in (now, then))
        return bool(a.sub(b, fill_value=0).abs().max() <= max(1, TOLERANCE * b.sum()))
    if "numbers" not in now:
        return dict(now) == dict(then)
    scale = abs(then["numbers"][0]) + then["numbers"][1]
    close = np.abs(np.subtract(now["numbers"], then["numbers"])) <= TOLERANCE * scale + 1e-9
    return bool(close.all()) and now["shape"] == then["shape"] and now["missing"] == then["missing"]


# inputs, and each stage on them


@cache
def world() -> Any:
    return make_world(200, 150)


@cache
def arrays() -> dict[str, Any]:
    adata = pl_arrays.prepared(200, 100)
    table, cycle = pl_arrays.latent(adata), pl_arrays.cycle(adata)
    axes, umap = pl_arrays.axes(adata, table).assign(strength="strong"), pl_arrays.umap(adata)
    return {"prepared": adata, "cycle": cycle, "latent": table, "axes": axes, "map": umap}


def trained() -> Any:
    """Return a model whose weights no training made."""
    import torch

    genes = list(world().prepared.var_names)
    vae = sl.CountVAE(len(genes), sl.settings.ModelSettings(n_latent=4, n_hidden=16), n_levels=(2,))
    rng = np.random.default_rng(0)
    for _, weights in sorted(vae.state_dict().items()):
        if weights.is_floating_point():
            weights.copy_(torch.from_numpy(rng.normal(0, 0.3, tuple(weights.shape))))
    card = world().model.card | {"levels": [["batch1", "batch2"]]}
    history = pd.DataFrame({"epoch": [1, 2], "seconds": [1.0, 1.0]})
    return sl.tl.TrainedModel(vae.eval(), card, history)


def metrics() -> dict[str, Any]:
    part = {"n_cells": 20, "elbo": -100.0, "marginal": -99.0, "marginal_se": 1.0}
    about = {"model": "nb", "seed": 0, "likelihood": "nb", "decoder": "linear", "n_latent": 6, "n_active": 5}
    return about | {"validation": part, "test": part}


def read() -> AnnData:
    cells = sl.simulate(40, 30, seed=2)
    barcodes = [f"{cell}-{'a' if i < 25 else 'b'}" for i, cell in enumerate(cells.obs_names)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cells[:25].write_h5ad(folder / "a.h5ad")
        frame = pd.DataFrame(cells[25:].X.toarray().astype(int), index=cells.obs_names[25:], columns=cells.var_names)
        frame.to_csv(folder / "b.csv")
        pd.DataFrame({"donor": ["x", "y"] * 20}, index=barcodes).to_csv(folder / "m.csv")
        counts = [{"path": str(folder / f), "name": f[0], "day": i} for i, f in enumerate(("a.h5ad", "b.csv"))]
        found = sl.io.read_dataset(counts=counts, metadata=str(folder / "m.csv"))
    del found.uns["sclatent"]["read"]  # paths
    return found


def prepare() -> dict[str, Any]:
    prepared = sl.pp.prepare(
        sl.simulate(200, 150, seed=2), batch="batch", covariates="true_library", genes={"n_top": 60}
    )
    return {"prepared": prepared, "model_counts": sl.pp.model_counts(prepared)}


def train() -> dict[str, Any]:
    out = {}
    for likelihood in ("nb", "poisson"):
        model = {"likelihood": likelihood, "n_latent": 4, "n_hidden": 16, "epochs": 4}
        made = sl.tl.train(world().prepared, model=model, batch="batch")
        card = {key: value for key, value in made.card.items() if key != "versions"}
        weights = {name: values.numpy() for name, values in made.vae.state_dict().items()}
        history = made.history.drop(columns=[c for c in made.history if "second" in c])
        out[likelihood] = {"weights": weights, "card": card, "history": history}
    return out


def knob() -> tuple[dict[str, Any], AnnData]:
    here = world()

    def stage(prepared: AnnData, **_: Any) -> AnnData:
        return true_cycle(prepared, seed=prepared.n_vars)

    # the angle is not found again without some of the genes: that is the cycle stage's work
    with patch("sclatent.tl._paths.held_out_genes.cycle_stage", stage):
        return sl.tl.knob(here.prepared, true_cycle(here.prepared), here.latent, here.model, batch="batch")


def traverse() -> AnnData:
    from sclatent.tl._paths import closed_path
    from sclatent.tl._paths.knob_file import write_path

    here = world()
    cycle = true_cycle(here.prepared)
    on = cycle.obs["cycling"].to_numpy()
    path = closed_path.fit_path(here.latent.X, cycle.obs["cycle_angle"], cycle.obs["cycle_sd"], on)
    phases = {"G1": 0.0, "S": 2.0, "G2M": 4.0}
    fitted = write_path(cycle, path, verdict="cell-cycle knob", reason="", phases=phases, neutral=here.latent.X)
    return sl.tl.traverse(here.prepared, cycle, here.latent, here.model, fitted, traverse={"steps": 7})


def sample() -> dict[str, Any]:
    density = sl.tl.density(world().prepared, trained())
    cells = sl.tl.sample(trained(), 60, density=density)
    del cells.uns["sclatent"]  # versions
    return {"density": density.about | {"held_out": [*density.about["held_out"].values()]}, "samples": cells}


def check_samples() -> dict[str, Any]:
    cells = world().prepared
    table = sl.tl.check_samples(cells[:90], cells[90:], training=cells[60:120])
    return {"table": table, "figures": sl.pl.samples(cells[:90], cells[90:], table)}


def select() -> dict[str, Any]:
    here = arrays()
    other = here["latent"].copy()
    other.X = other.X[:, ::-1] + np.random.default_rng(0).normal(0, 0.3, other.shape).astype(np.float32)
    worse = metrics() | {"seed": 1, "validation": metrics()["validation"] | {"marginal": -120.0}}
    chosen, stability = sl.tl.select(
        {0: metrics(), 1: worse}, {0: here["latent"], 1: other}, {0: here["axes"], 1: here["axes"]}
    )
    return {"selected": chosen, "stability": stability}


def export() -> AnnData:
    here = world()
    axes = pl_arrays.axes(here.prepared, here.latent)
    mapped = AnnData(
        obs=pd.DataFrame({"leiden": pd.Categorical(["0", "1"] * 100)}, index=here.prepared.obs_names),
        obsm={"X_umap": np.asarray(here.latent.X[:, :2])},
        obsp={key: sparse.eye(200, format="csr") for key in ("distances", "connectivities")},
        uns={key: {"params": {"n": 1}} for key in ("neighbors", "leiden", "umap")},
    )
    cycle = true_cycle(here.prepared)
    more = {"batch": "batch", "labels": "cell_type", "card": here.model.card, "metrics": metrics()}
    return sl.atlas.build(here.prepared, cycle, here.latent, mapped, axes, **more)


@cache
def joint() -> tuple[AnnData, Any]:
    """Return a small multiome, 20 cells without RNA, 20 without peaks, and a model of both."""
    from multiome import multiome

    from sclatent.io._modalities import join_modalities
    from sclatent.settings import ModalitiesSettings

    both = ModalitiesSettings.model_validate({"rna": {}, "atac": {"counts": "-", "min_cells": 3}})
    rna, atac = multiome(120, 80, 60)
    prepared = sl.pp.prepare(join_modalities(rna[20:], atac[:100], both, "x.yaml"), modalities=both)
    return prepared, sl.tl.train(prepared, model={"n_latent": 3, "n_hidden": 8, "epochs": 2}, modalities=both)


def bundle_samples() -> dict[str, Any]:
    prepared, trained = joint()
    cells = sl.tl.sample(trained, 50, density=sl.tl.density(prepared, trained))
    whole = sl.atlas.to_mudata(cells)
    del whole["rna"].uns["sclatent"]  # versions
    table = sl.tl.check_samples(prepared[50:], cells, training=prepared[:50])
    return {"rna": whole["rna"], "atac": whole["atac"], "obs": whole.obs, "table": table}


def bundle() -> dict[str, Any]:
    """Join a small multiome."""
    prepared, trained = joint()
    latent = sl.tl.embed(prepared, trained)
    cycle, map = sl.tl.cycle(prepared), sl.tl.map(latent)
    atlas = sl.atlas.build(prepared, cycle, latent, map, sl.tl.annotate(prepared, cycle, latent))
    whole = sl.atlas.build_mudata(atlas, prepared, latent, map)
    peaks = whole["atac"]
    return {"peaks": peaks, "obs": whole.obs[["measured", "split"]], "latent": np.asarray(whole.obsm["X_sclatent"])}


def page() -> dict[str, Any]:
    here = arrays()
    atlas = pl_arrays.atlas(here["prepared"], here["cycle"], here["latent"], here["map"], here["axes"])
    with tempfile.TemporaryDirectory() as name:
        steps = pl_arrays.traversals(here["prepared"])
        file = sl.pl.page(atlas, steps, pl_arrays.knob(here["prepared"]), Path(name) / "knob.html")
        text = file.read_text(encoding="utf-8")
    numbers = r"[A-Za-z0-9+/=]{200,}|\d+\.\d+"
    return {"words": re.sub(numbers, "", text), "kilobytes": len(text) // 1000}


def plot_model() -> dict[str, Any]:
    here = arrays()
    steps = pl_arrays.traversals(here["prepared"])
    shown = {"map": here["map"], "latent": here["latent"], "cycle": here["cycle"]}
    return {
        "axes": sl.pl.axes(here["latent"], here["axes"], map=here["map"], traversals=steps),
        "traversals": sl.pl.traversals(steps, here["axes"]),
        "knob": sl.pl.knob(pl_arrays.knob(here["prepared"]), steps, **shown),
    }


def compare() -> pd.DataFrame:
    here, run = arrays(), ("nb", 0)
    cells = {"latents": {run: here["latent"]}, "prepared": here["prepared"]}
    return sl.tl.compare(
        {run: metrics()}, {run: here["axes"]}, selected={"nb": 0}, **cells, batch="batch", labels="cell_type"
    )


def plot_models() -> dict[str, Any]:
    run = ("nb", 0)
    history = pd.DataFrame({"epoch": [1, 2, 3], "train_elbo": [-3.0, -2.0, -1.5], "kl": [2.0, 1.5, 1.2]})
    history["validation_elbo"] = history["train_elbo"] - 0.1
    return sl.pl.models(compare(), {run: metrics()}, {run: history}, axes={run: arrays()["axes"]})


def gradients() -> dict[str, pd.DataFrame]:
    given = (world().prepared, trained())
    variance = sl.tl.gradient_variance(*given, objectives=["stl"], cells=8, repeats=20)
    noise = sl.tl.gradient_noise(*given, cells=20, batches=4, moments=("end",))
    return {"variance": variance.assign(seconds=1.0, relative_per_second=1.0), "noise": noise}


def plot_gradients() -> dict[str, Any]:
    tables = gradients()
    return {"variance": sl.pl.gradient_variance(tables["variance"]), "noise": sl.pl.gradient_noise(tables["noise"])}


STAGES: dict[str, Callable[[], Any]] = {
    "demo_counts": lambda: {name: sl.data.demo(name) for name in ("demo", "pbmc68k")},
    "read": read,
    "check": lambda: sl.pp.check_columns(
        sl.simulate(60, 40, seed=2), batch="batch", labels=["cell_type", "true_angle"]
    ),
    "check_given": lambda: sl.pp.check_given(world().prepared, batch="batch", sample={"given": {"batch": "batch1"}}),
    "prepare": prepare,
    "cycle": lambda: sl.tl.cycle(world().prepared, batch="batch"),
    "plot_cells": lambda: {
        "qc": sl.pl.qc(arrays()["prepared"]),
        "cycle": sl.pl.cycle(arrays()["prepared"], arrays()["cycle"]),
    },
    "train": train,
    "embed": lambda: sl.tl.embed(world().prepared, trained()),
    "evaluate": lambda: sl.tl.evaluate(world().prepared, trained(), samples=5),
    "annotate": lambda: sl.tl.annotate(
        world().prepared, true_cycle(world().prepared), world().latent, batch="batch", labels="cell_type"
    ),
    "select": select,
    "map": lambda: sl.tl.map(world().latent),
    "knob": lambda: dict(zip(("verdict", "path"), knob(), strict=True)),
    "traverse": traverse,
    "sample": sample,
    "check_samples": check_samples,
    "plot_model": plot_model,
    "export": export,
    "bundle": bundle,
    "bundle_samples": bundle_samples,
    "page": page,
    "compare": compare,
    "plot_models": plot_models,
    "gradients": gradients,
    "plot_gradients": plot_gradients,
}


def results(stage: str) -> dict[str, Any]:
    """Run one stage and return what tells its results."""
    return dict(tell(STAGES[stage]()))


def inputs() -> dict[str, Any]:
    """Return what tells the cells that the stages are given."""
    return dict(
        tell({"world": world().prepared, "arrays": arrays()["prepared"], "counts": sl.simulate(200, 150, seed=2)})
    )


def write() -> None:
    """Record the numbers and results of all stages; refuse to where results changed and the number did not."""
    old = json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {"stages": {}}
    comparable = old.get("libraries") == libraries() and not differences(inputs(), old["inputs"])
    stages = {}
    for stage, number in VERSIONS.items():
        found, before = results(stage), old["stages"].get(stage)
        if comparable and before and before["version"] == number and differences(found, before["results"]):
            sys.exit(f'{stage} writes other results: raise "{stage}" in src/sclatent/bridge/versions.py first')
        stages[stage] = {"version": number, "results": found}
    table = {"libraries": libraries(), "inputs": inputs(), "stages": stages}
    TABLE.write_text(_lines(table) + "\n", encoding="utf-8")


def _lines(value: Any, depth: int = 0) -> str:
    """Return JSON with one line for each thing that results are told by, so that a change can be read."""
    if not isinstance(value, Mapping) or any(key in value for key in ("shape", "text", "counts")):
        return json.dumps(value, sort_keys=True)
    inner = [f"{' ' * (depth + 1)}{json.dumps(key)}: {_lines(value[key], depth + 1)}" for key in sorted(value)]
    return "{\n" + ",\n".join(inner) + f"\n{' ' * depth}}}"


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"{sys.argv[0]} --write records the results of all stages in {TABLE.name}")
    write()
