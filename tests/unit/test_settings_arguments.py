"""What public functions say of arguments that they cannot use: one line each, by one mechanism for all."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import sclatent as sl
from sclatent.settings import InputError, checks_arguments
from sclatent.settings.arguments import _kinds

OBJECTS = ("AnnData", "MuData", "TrainedModel", "Density", "DataFrame", "dict[", "Mapping[")


def public() -> dict[str, object]:
    """Return the public functions by name that take objects of the pipeline."""
    found = {}
    for room in ("atlas", "io", "pl", "pp", "tl"):
        module = getattr(sl, room)
        for name in module.__all__:
            function = getattr(module, name)
            if inspect.isfunction(function):
                taken = [str(p.annotation) for p in inspect.signature(function).parameters.values()]
                if any(kind in annotation for kind in OBJECTS for annotation in taken):
                    found[f"sl.{room}.{name}"] = function
    return found


FUNCTIONS = public()


@pytest.fixture(scope="module")
def stages():
    counts = sl.simulate(120, 60, seed=0)
    prepared = sl.pp.prepare(counts, batch="batch")
    trained = sl.tl.train(prepared, model={"epochs": 1, "n_latent": 2})
    latent = sl.tl.embed(prepared, trained)
    return {
        "counts": counts,
        "prepared": prepared,
        "trained": trained,
        "latent": latent,
        "cycle": sl.tl.cycle(prepared),
        "map": sl.tl.map(latent),
    }


def test_all_functions_are_found():
    assert len(FUNCTIONS) > 40
    assert {"sl.tl.train", "sl.pp.prepare", "sl.pl.page", "sl.atlas.build", "sl.io.write_h5ad"} <= set(FUNCTIONS)


def test_positions_from_elsewhere_can_be_mapped():
    cells = ad.AnnData(np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32))
    assert sl.tl.map(cells).obsm["X_umap"].shape == (40, 2)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("wrong", ["results/x.h5ad", 3, None, ["a"], Path("x"), np.zeros((2, 2)), len])
def test_the_first_argument_of_every_function_is_looked_at(name, wrong):
    function = FUNCTIONS[name]
    parameters = inspect.signature(function).parameters
    first = next(
        key for key, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD and _kinds(p.annotation) != ()
    )
    if any(kind.fits(wrong) for kind in _kinds(parameters[first].annotation)):
        pytest.skip("this is what the function takes")
    needed = [key for key, p in parameters.items() if p.default is p.empty]
    with pytest.raises(InputError) as error:
        function(**dict.fromkeys({*needed, first}, wrong))
    line = str(error.value)
    assert line.startswith(f"{function.__name__}: ")
    assert ": expected " in line
    assert "found " in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda s: sl.pp.prepare("a.h5ad"),
            r"^prepare: counts: expected an AnnData, found the text 'a.h5ad': .*read_h5ad\('a.h5ad'\)$",
        ),
        (
            lambda s: sl.tl.evaluate(s["prepared"], "out/nb"),
            r"found the text 'out/nb': read the file first: sl.tl.TrainedModel.load\('out/nb'\)$",
        ),
        (
            lambda s: sl.tl.embed(s["trained"], s["prepared"]),
            r"^embed: prepared: expected an AnnData, found a TrainedModel: the call is embed\(prepared, trained\)$",
        ),
        (
            lambda s: sl.tl.annotate(s["prepared"], s["latent"], s["cycle"]),
            r"^annotate: cycle: .* found another AnnData \(120 × 2\): .* annotate\(prepared, cycle, latent, …\)$",
        ),
        (lambda s: sl.tl.map(s["prepared"]), r"^map: latent: expected what sl.tl.embed returns"),
        (
            lambda s: sl.tl.evaluate(s["prepared"], s["trained"], latent=s["map"]),
            r"^evaluate: latent: expected what sl.tl.embed",
        ),
        (
            lambda s: sl.tl.traverse(s["prepared"], s["cycle"], s["latent"], s["trained"], s["cycle"]),
            r"^traverse: knob: expected what sl.tl.knob",
        ),
        (
            lambda s: sl.tl.traverse(s["prepared"], s["cycle"], s["latent"], s["trained"], ({}, s["cycle"])),
            r"found 2 results at once \(dict, AnnData\): take them apart",
        ),
        (
            lambda s: sl.pl.page(s["latent"], s["map"], {}, "x.html"),
            r"^page: atlas: expected what sl.atlas.build returns",
        ),
        (
            lambda s: sl.pl.axes(s["latent"], s["latent"]),
            r"^axes: axes: expected a DataFrame, found an AnnData of 120 × 2",
        ),
        (
            lambda s: sl.io.write_h5ad("x.h5ad", s["latent"]),
            r"found the text 'x.h5ad': the call is write_h5ad\(adata, path\)$",
        ),
        (lambda s: sl.tl.select(s["latent"], {}, {}), r"^select: metrics: expected a mapping, found an AnnData"),
        (lambda s: sl.tl.select({0: {}}, {0: 1}, {}), r"^select: latents\[0\]: expected an AnnData, found 1"),
        (lambda s: sl.tl.train(s["prepared"], seed="1"), r"^train: seed: expected a whole number, found the text '1'"),
        (
            lambda s: sl.tl.train(s["prepared"], seed=-1),
            r"^train: seed: expected a whole number from 0 to 4294967295, found -1$",
        ),
        (lambda s: sl.tl.train(s["prepared"], model="nb"), r"^settings: model: expected `key: value` lines, found"),
        (lambda s: sl.tl.sample(s["trained"], 10.5), r"^sample: n: expected a whole number, found 10.5"),
        (lambda s: sl.tl.embed(sl.pp.prepare, s["trained"]), r"found prepare itself, not what it returns"),
        (
            lambda s: sl.tl.TrainedModel.load(s["latent"]),
            r"^TrainedModel.load: folder: expected a path or text, found an AnnData",
        ),
        (lambda s: sl.tl.Density.load("no.npz"), r"^no.npz: no such file"),
        (
            lambda s: sl.tl.decode(np.zeros((3, 9)), s["trained"]),
            r"^decode: z: expected cells × 2 axes, found an array of 3 × 9",
        ),
        (
            lambda s: sl.tl.cycle(s["prepared"], batch="bacth"),
            r"^batch: obs has no column 'bacth' \(did you mean 'batch'\?\)$",
        ),
        (
            lambda s: sl.tl.knob(s["prepared"], s["cycle"], s["latent"], s["trained"], labels="x"),
            r"^labels: obs has no column 'x'",
        ),
        (lambda s: sl.tl.mixing(s["latent"], s["prepared"], "x", ()), r"^batch: obs has no column 'x'"),
        (lambda s: sl.pp.model_counts(s["counts"]), r"^obs has no column 'split': pass prepared cells"),
        (lambda s: sl.load_dataset(s["counts"]), r"^load_dataset: path: expected text or a path, found an AnnData"),
        (lambda s: sl.io.read_dataset(counts=s["counts"]), r"^settings: counts: found AnnData, which was read already"),
        (lambda s: sl.simulate("many"), r"^simulate: n_cells: expected a whole number, found the text 'many'"),
    ],
)
def test_what_is_wrong_is_one_line(stages, call, said):
    with pytest.raises(InputError, match=said):
        call(stages)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda s: sl.tl.embed(s["prepared"]),
            r"^embed: missing a required argument: 'trained': the call is embed\(prepared, trained\)$",
        ),
        (
            lambda s: sl.pp.prepare(s["counts"], batchs="x"),
            r"unexpected keyword argument 'batchs' \(did you mean 'batch'\?\)",
        ),
        (lambda s: sl.pp.prepare(s["counts"], n_top=50), r"'n_top': it belongs under `genes`: genes={'n_top': …}"),
        (lambda s: sl.tl.train(s["prepared"], epochs=5), r"'epochs': it belongs under `model`: model={'epochs': …}"),
        (
            lambda s: sl.tl.map(s["latent"], resolution=2),
            r"'resolution': it belongs under `map`: map={'resolution': …}",
        ),
        (
            lambda s: sl.tl.train(s["prepared"], {}),
            r"too many positional arguments: the call is train\(prepared, model=…, seed=…",
        ),
    ],
)
def test_a_call_that_python_refuses_says_how_it_is_called(stages, call, said):
    with pytest.raises(TypeError, match=said):
        call(stages)


def test_what_is_right_passes(stages):
    @checks_arguments
    def function(n: int, share: float, frame: pd.DataFrame | None = None, where: str | Path = "a", yes: bool = True):
        return n, share, frame, where, yes

    assert function(np.int64(3), 2, None, Path("b"), np.bool_(True))[0] == 3
    assert function(3, np.float32(0.5))[1] == 0.5
    for wrong in ({"n": True}, {"n": 1.0}, {"share": "a"}, {"yes": 1}, {"where": 3}, {"frame": []}):
        with pytest.raises(InputError):
            function(**({"n": 1, "share": 1.0} | wrong))
    view = stages["prepared"][:50]
    assert sl.tl.embed(view, stages["trained"]).n_obs == 50


def test_functions_stay_what_they_are():
    assert pickle.loads(pickle.dumps(sl.tl.embed)) is sl.tl.embed
    assert "Parameters" in inspect.getdoc(sl.tl.train)
    assert list(inspect.signature(sl.tl.embed).parameters) == ["prepared", "trained"]


def test_a_path_of_pathlib_is_a_path(tmp_path):
    cells = sl.simulate(60, 40, seed=0)
    cells.write_h5ad(tmp_path / "a.h5ad")
    pd.DataFrame({"barcode": cells.obs_names, "extra": "x"}).to_csv(tmp_path / "m.csv", index=False)
    for counts in (tmp_path / "a.h5ad", [tmp_path / "a.h5ad"], {"path": tmp_path / "a.h5ad"}, (tmp_path / "a.h5ad",)):
        read = sl.io.read_dataset(counts=counts, metadata=tmp_path / "m.csv")
        assert list(read.obs["extra"].unique()) == ["x"]


def test_a_file_that_holds_no_density(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(2))
    np.save(tmp_path / "one.npy", np.zeros(2))
    (tmp_path / "text.npz").write_text("no arrays")
    for name, said in (
        ("other.npz", "is not a density: it holds x"),
        ("one.npy", "cannot"),
        ("text.npz", "cannot be read"),
    ):
        with pytest.raises(InputError, match=said):
            sl.tl.Density.load(tmp_path / name)
