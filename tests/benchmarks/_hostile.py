"""Files for the fuzz run: sound ones of every kind, and what a seeded hand makes of them."""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import zarr
from scipy import sparse

from sclatent.io._formats.hdf5 import check_walk
from sclatent.settings import InputError

CELLS = [f"AAACCTGAG{i:03d}-1" for i in range(40)]
GENES = [*("MCM5", "PCNA", "TYMS", "FEN1", "TOP2A", "CCNB2"), *(f"GENE{i}" for i in range(24))]
NAMES = [
    *(
        "",
        " ",
        "\t",
        "\n",
        "\r\nforged: line",
        "\x00",
        "\x1b[2J\x1b]0;x\x07",
        "\u202egnp.exe",
        "\ufeff",
        "\ud83d\ude00",
    ),
    *(
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "{{7*7}}",
        "{0.__class__}",
        "%s%n%x",
        "$(touch x)",
    ),
    *("`touch x`", "; touch x", "../../etc/passwd", "/etc/passwd", "a/b", "..", "CON", "NaN", "NA", "-1", "1e999"),
    *(
        "=cmd|'/c calc'!A0",
        "𝔊𝔢𝔫𝔢",
        "é" * 300,
        "x" * 70_000,
        "_index",
        "__proto__",
        "$\\frac{",
        "\\input{x}",
        "a\u2028b",
    ),
]
NUMBERS = [
    "0",
    "-1",
    "NaN",
    "inf",
    "1e308",
    "1e999",
    "9" * 400,
    "2147483648",
    "18446744073709551616",
    "0x10",
    "1_000",
    "1,5",
]
HUGE = (2**31 - 1, 2**31, 2**40, 10**12, 2**62)
RAISES = pickle.dumps(ZeroDivisionError("a pickle was loaded"))


def matrix() -> sparse.csr_matrix:
    rng = np.random.default_rng(0)
    return sparse.csr_matrix(rng.poisson(0.6, (len(CELLS), len(GENES))).astype(np.float32))


def h5ad(folder: Path) -> Path:
    obs = pd.DataFrame({"batch": pd.Categorical(["a", "b"] * 20), "day": np.arange(40.0)}, index=CELLS)
    adata = anndata.AnnData(matrix(), obs, pd.DataFrame({"symbol": GENES}, index=GENES))
    adata.layers["counts"], adata.obsm["X_pca"] = adata.X.toarray(), np.zeros((40, 2))
    adata.raw = adata
    adata.write_h5ad(folder / "a.h5ad", compression="gzip")
    return folder / "a.h5ad"


def zarr_store(folder: Path) -> Path:
    adata = anndata.read_h5ad(h5ad(folder))
    (folder / "a.h5ad").unlink()
    with anndata.settings.override(zarr_write_format=2):
        adata.write_zarr(folder / "a.zarr")
    return folder / "a.zarr"


def tenx(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        group = file.create_group("matrix")
        for name in ("data", "indices", "indptr"):
            group.create_dataset(name, data=getattr(matrix(), name).astype("i4"), chunks=True, compression="gzip")
        group["shape"], group["barcodes"] = np.array([len(GENES), len(CELLS)]), np.array(CELLS, "S")
        group["features/id"] = group["features/name"] = np.array(GENES, "S")
        group["features/feature_type"] = np.array(["Gene Expression"] * len(GENES), "S")
    return folder / "a.h5"


def loom(folder: Path) -> Path:
    with h5py.File(folder / "a.loom", "w") as file:
        file.create_dataset("matrix", data=matrix().T.toarray(), chunks=(10, 10), compression="gzip")
        file["row_attrs/Gene"] = np.array(GENES, h5py.string_dtype())
        file["col_attrs/CellID"], file["col_attrs/day"] = np.array(CELLS, "S"), np.arange(40)
        file.create_group("layers")["spliced"] = matrix().T.toarray()
    return folder / "a.loom"


def mtx(folder: Path) -> Path:
    entries = matrix().T.tocoo()
    lines = [f"{i + 1} {j + 1} {v:.0f}\n" for i, j, v in zip(entries.row, entries.col, entries.data, strict=True)]
    head = f"%%MatrixMarket matrix coordinate integer general\n%\n{len(GENES)} {len(CELLS)} {len(lines)}\n"
    (folder / "tenx").mkdir()
    (folder / "tenx/matrix.mtx").write_text(head + "".join(lines))
    (folder / "tenx/barcodes.tsv").write_text("".join(f"{cell}\n" for cell in CELLS))
    (folder / "tenx/features.tsv").write_text(
        "".join(f"ENSG{i:011d}\t{g}\tGene Expression\n" for i, g in enumerate(GENES))
    )
    return folder / "tenx"


def text(folder: Path) -> Path:
    table = pd.DataFrame(matrix().T.toarray().astype(int), index=GENES, columns=CELLS)
    table.to_csv(folder / "a.tsv", sep="\t")
    return folder / "a.tsv"


def metadata(folder: Path) -> Path:
    pd.DataFrame({"day": range(40), "donor": ["d1", 'd"2'] * 20}, index=CELLS).to_csv(folder / "cells.csv")
    return folder / "cells.csv"


def gmt(folder: Path) -> Path:
    (folder / "a.gmt").write_text("".join(f"SET_{i}\thttp://x\t" + "\t".join(GENES[i:]) + "\n" for i in range(9)))
    return folder / "a.gmt"


def genes(folder: Path) -> Path:
    (folder / "genes.tsv").write_text(
        "gene\tphase\n" + "".join(f"{g}\t{'S' if i % 2 else 'G2M'}\n" for i, g in enumerate(GENES))
    )
    return folder / "genes.tsv"


YAML = """# a dataset
counts:
  - {path: data/a.h5ad, name: a, layer: counts, day: 3}
  - path: data/b.h5
    name: b
    url: https://example.org/b.h5
    sha256: 0000000000000000000000000000000000000000000000000000000000000000
    day: 4
join: outer
metadata: cells.tsv
organism: human
batch: [sample]
covariates: day
labels: &columns [cell_type, donor]
split: {validation: 0.1, test: 0.2}
cells: {min_genes: 200, max_percent_mito: 10.5, doublets: true}
genes: {n_top: 2000, keep: [MCM5], symbols: symbol}
models:
  nb: {likelihood: nb, n_latent: 10, n_hidden: 128, epochs: auto}
  deep: {likelihood: {kind: zinb}, latent: gaussian, decoder: {kind: additive}}
seeds: [0, 1]
traverse: {steps: 41}
map: {n_neighbors: 15, resolution: 1.0}
"""
TAGS = ["!!int", "!!float", "!!binary", "!!timestamp", "!!set", "!!omap", "!!pairs", "!!null", "!!bool", "!!str", "!x",
        "!!python/object/apply:os.system", "!!python/name:os.system", "!!python/object/new:dict"]  # fmt: skip


def yaml(folder: Path) -> Path:
    (folder / "a.yaml").write_text(YAML)
    return folder / "a.yaml"


MAKERS: dict[str, Callable[[Path], Path]] = {
    **{"h5ad": h5ad, "10x h5": tenx, "loom": loom, "zarr": zarr_store, "mtx": mtx, "text": text, "yaml": yaml},
    **{"metadata": metadata, "gmt": gmt, "genes": genes},
}


def spoil(path: Path, kind: str, rng: np.random.Generator) -> Path:
    """Spoil a copy of a sound file in one to three ways, and return where it is (its name may have changed)."""
    for _ in range(rng.integers(1, 4)):
        try:
            if kind in ("h5ad", "10x h5", "loom") and rng.random() < 0.75:
                check_walk(path)
                with h5py.File(path, "a") as file:
                    _spoil_hdf5(file, rng)
            elif kind == "zarr" and rng.random() < 0.75:
                _spoil_zarr(path, rng)
            elif kind in ("yaml", "text", "mtx", "metadata", "gmt", "genes") and rng.random() < 0.7:
                _spoil_text(_one_file(path, rng), kind, rng)
            else:
                _spoil_bytes(_one_file(path, rng), rng)
        except (InputError, OSError, KeyError, ValueError, RuntimeError, TypeError, UnicodeError):
            return path  # too broken by now for more
    if kind in ("text", "mtx", "metadata", "gmt", "genes") and rng.random() < 0.2:
        return _packed(path, rng)
    return path


def _one_file(path: Path, rng: np.random.Generator) -> Path:
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return files[rng.integers(len(files))]


def _packed(path: Path, rng: np.random.Generator) -> Path:
    """Gzip the file, some of them cut, damaged, or with a bomb behind."""
    file = _one_file(path, rng)
    content = file.read_bytes()
    if rng.random() < 0.2:
        pieces = [b"0", b"\t0", b"x\t0\n", b"\n", b"1 1 1\n", *content.splitlines(keepends=True)[-1:]]
        piece = pieces[rng.integers(len(pieces))]
        content += piece * (int(rng.choice([10**6, 10**7])) // max(1, len(piece)))
    packed = bytearray(gzip.compress(content, 6))
    if rng.random() < 0.4:
        packed[rng.integers(len(packed))] ^= 1 << rng.integers(8)
    if rng.random() < 0.2:
        del packed[rng.integers(len(packed)) :]
    file.unlink()
    file.with_name(file.name + ".gz").write_bytes(bytes(packed))
    return path if path.is_dir() else path.with_name(path.name + ".gz")


def _spoil_bytes(path: Path, rng: np.random.Generator) -> None:
    data = bytearray(path.read_bytes())
    at = int(rng.integers(len(data) + 1))
    match rng.integers(7):
        case 0:
            del data[at:]
        case 1:
            for _ in range(rng.integers(1, 20)):
                data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        case 2:
            data[at:at] = rng.bytes(int(rng.integers(1, 64)))
        case 3:
            del data[at : at + int(rng.integers(1, 64))]
        case 4:
            data[at : at + 8] = int(rng.choice(HUGE)).to_bytes(8, "little")
        case 5:
            other = int(rng.integers(len(data)))
            data[at:at] = data[other : other + int(rng.integers(1, 512))]
        case _:
            data[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\xff\xff\xff\x7f", b"\n\n\n\n"])
    path.write_bytes(bytes(data))


def _spoil_text(path: Path, kind: str, rng: np.random.Generator) -> None:
    """Put a hostile name or number in the place of a word, or change whole lines."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    at = int(rng.integers(len(lines)))
    word = str(rng.choice(NUMBERS)) if rng.random() < 0.5 else NAMES[rng.integers(len(NAMES))]
    match rng.integers(6):
        case 0:
            lines[at] = lines[at] * int(rng.integers(2, 5))
        case 1:
            del lines[at]
        case 2 | 3 | 4:
            mark = {"yaml": " ", "metadata": ",", "mtx": "\t" if "\t" in lines[at] else " "}.get(kind, "\t")
            fields = lines[at].rstrip("\n").split(mark)
            spot = int(rng.integers(len(fields)))
            if kind == "yaml":
                _spoil_yaml(fields, spot, word, rng)
            else:
                fields[spot] = word
            lines[at] = mark.join(fields) + "\n"
        case _:
            lines.insert(at, word + "\n")
    path.write_bytes("".join(lines).encode("utf-8", "surrogatepass"))


def _spoil_yaml(fields: list[str], spot: int, word: str, rng: np.random.Generator) -> None:
    match rng.integers(5):
        case 0:
            fields[spot] = str(rng.choice(TAGS)) + " " + fields[spot]
        case 1:
            fields[spot] = json.dumps(word)
        case 2:
            fields[spot] = word
        case 3:
            fields[spot] = str(
                rng.choice(
                    ["*columns", "<<: *columns", "[[[[", "? ", "|", ">", "&x *x", "---", "...", "@", "%YAML 9.9"]
                )
            )
        case _:
            deep = int(rng.choice([3, 50, 5000]))
            fields[spot] = "[" * deep + "]" * deep


def _spoil_zarr(path: Path, rng: np.random.Generator) -> None:
    """Change what one array or group says about itself."""
    files = sorted(p for p in path.rglob("*") if p.name in (".zarray", ".zattrs", ".zgroup"))
    file = files[rng.integers(len(files))]
    about = json.loads(file.read_text())
    key = str(rng.choice(sorted(about) or ["x"]))
    choices = [
        None,
        -1,
        int(rng.choice(HUGE)),
        [int(rng.choice(HUGE))],
        [],
        {},
        "|O",
        "<U999999999",
        "<f8",
        NAMES[rng.integers(len(NAMES))],
    ]
    about[key] = choices[rng.integers(len(choices))]
    if file.name == ".zarray" and rng.random() < 0.3:
        about |= {
            "filters": [{"id": str(rng.choice(["pickle", "msgpack2", "json2", "vlen-bytes"]))}],
            "dtype": "|O",
            "compressor": None,
        }
        for chunk in file.parent.glob("[0-9]*"):
            chunk.write_bytes(RAISES)
    file.write_text(json.dumps(about))


def _spoil_hdf5(file: h5py.File, rng: np.random.Generator) -> None:
    """Change one array, one group or one attribute."""
    places: list[str] = []
    file.visit(places.append)
    name = places[rng.integers(len(places))]
    node = file[name]
    if rng.random() < 0.25:
        _spoil_attribute(node, rng)
        return
    about = dict(node.attrs)
    old = (
        node[()] if isinstance(node, h5py.Dataset) and node.size and node.size < 10_000 and not node.external else None
    )
    other = places[rng.integers(len(places))]
    del file[name]
    huge = int(rng.choice(HUGE))
    match rng.integers(12):
        case 0:
            file.create_dataset(name, shape=(huge,), dtype=rng.choice(["f4", "i8", "S16", "u1"]), chunks=(1000,))
        case 1:
            file.create_dataset(name, shape=(huge, 7), dtype="f4", chunks=(1000, 7), compression="gzip")
        case 2:
            file.create_dataset(
                name, shape=(50,), maxshape=(None,), dtype="f8", chunks=(2**27,), compression="gzip", fillvalue=0
            )
        case 3:
            made = file.create_dataset(
                name, shape=(200_000,), dtype=h5py.string_dtype(), chunks=(1000,), compression="gzip"
            )
            made[:2] = "x" * 10**6
        case 4:
            file[name] = np.array(
                [NAMES[i].replace("\x00", "").encode("utf-8", "replace") for i in rng.integers(len(NAMES), size=40)],
                "S",
            )
        case 5:
            file[name] = np.array(
                [NAMES[rng.integers(len(NAMES))].replace("\x00", "").encode("utf-8", "replace").decode()] * 40,
                h5py.string_dtype(),
            )
        case 6:
            file[name] = h5py.SoftLink(rng.choice(["/", "/nowhere", f"/{other}", f"/{name}"]))
        case 7:
            file[name] = h5py.ExternalLink(rng.choice(["/etc/passwd", "/dev/zero", "a.h5ad"]), "/")
        case 8:
            file.create_dataset(name, shape=(huge,), dtype="u1", external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)])
        case 9:
            file[name] = np.frombuffer(RAISES, np.uint8) if rng.random() < 0.5 else np.void(RAISES)
        case 10:
            values = [
                np.zeros((3, 0)),
                np.array([[1.5, -1.0]]),
                np.array(np.nan),
                np.array([], "f4"),
                np.array([1 + 2j]),
                np.zeros(40, [("a", "i4"), ("b", "S3")]),
                h5py.Empty("f4"),
            ]
            file[name] = values[rng.integers(len(values))]
        case _:
            if old is not None and np.ndim(old) == 1 and len(old):
                changed = np.array(old)
                changed[rng.integers(len(old))] = old[rng.integers(len(old))]
                file[name] = changed[: rng.integers(len(old)) + 1] if rng.random() < 0.5 else changed
            else:
                file[name] = h5py.SoftLink(f"/{other}")
    if rng.random() < 0.8 and isinstance(file.get(name, getlink=True), h5py.HardLink):
        file[name].attrs.update(about)


def _spoil_attribute(node: h5py.Group | h5py.Dataset, rng: np.random.Generator) -> None:
    names = list(node.attrs) or ["encoding-type"]
    name = names[rng.integers(len(names))]
    word = NAMES[rng.integers(len(NAMES))].replace("\x00", "").encode("utf-8", "replace").decode()[:60_000]
    values = [
        word,
        -1,
        np.nan,
        np.array([int(rng.choice(HUGE))] * 2),
        np.array([-5, 3]),
        np.array([]),
        np.array(["a", "b"], object),
        h5py.Empty("f4"),
        "csr_matrix",
        "dataframe",
        "categorical",
        "null",
        "rec-array",
    ]
    node.attrs[name] = values[rng.integers(len(values))]


def copy(base: Path, folder: Path) -> Path:
    """Copy a sound file or folder."""
    to = folder / base.name
    return Path(shutil.copytree(base, to)) if base.is_dir() else Path(shutil.copy(base, to))


__all__ = ["MAKERS", "copy", "spoil", "zarr"]
