"""Lists of names beside a Matrix Market file, as tools, R and spreadsheets write them."""

import gzip
import logging

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sclatent.io import read_counts, read_dataset
from sclatent.settings import InputError

MATRIX = np.random.default_rng(0).poisson(1.0, (3, 5)) + np.eye(3, 5, dtype=int)
CELLS = ["AAAC-1", "AAAG-1", "AAAT-1"]
IDS, SYMBOLS = [f"ENSG{i:011d}" for i in range(5)], ["TP53", "MCM5", "PCNA", "CD3D", "CD8A"]
V2 = [f"{i}\t{s}" for i, s in zip(IDS, SYMBOLS, strict=True)]


def folder(
    path, *, genes=V2, cells=CELLS, matrix=MATRIX.T, names=("matrix.mtx", "barcodes.tsv", "genes.tsv"), last="\n"
):
    path.mkdir()
    found = sparse.coo_matrix(matrix)
    entries = [f"{r + 1} {c + 1} {v}" for r, c, v in zip(found.row, found.col, found.data, strict=True)]
    head = f"%%MatrixMarket matrix coordinate integer general\n{matrix.shape[0]} {matrix.shape[1]} {found.nnz}\n"
    (path / names[0]).write_text(head + "\n".join(entries) + last)
    (path / names[1]).write_text("\n".join(cells) + "\n")
    (path / names[2]).write_text("\n".join(genes) + "\n")
    return path


@pytest.mark.parametrize(
    ("genes", "cells"),
    [
        (["gene_id\tgene_name", *V2], CELLS),
        (V2, ["barcode", *CELLS]),
        (["gene_id\tgene_name", *V2], ["x", *CELLS]),
        ([f'"{i}"\t"{s}"' for i, s in zip(IDS, SYMBOLS, strict=True)], [f'"{c}"' for c in CELLS]),
        ([f"{n}\t{row}" for n, row in enumerate(V2, 1)], [f"{n}\t{c}" for n, c in enumerate(CELLS, 1)]),
        (
            ['"V1" "V2"', *(f'"{n}" "{i}" "{s}"' for n, (i, s) in enumerate(zip(IDS, SYMBOLS, strict=True), 1))],
            ['"x"', *(f'"{n}" "{c}"' for n, c in enumerate(CELLS, 1))],
        ),
        ([f"{s}\t{i}" for i, s in zip(IDS, SYMBOLS, strict=True)], CELLS),
    ],
    ids=["header", "header of cells", "two headers", "quotes", "row numbers", "as R writes it", "symbols first"],
)
def test_names_in_other_dresses(tmp_path, genes, cells):
    adata = read_counts(folder(tmp_path / "m", genes=genes, cells=cells))
    assert list(adata.obs_names) == CELLS
    assert list(adata.var_names) == SYMBOLS
    assert list(adata.var["gene_ids"]) == IDS
    assert np.array_equal(adata.X.toarray(), MATRIX)


def test_a_gene_is_no_header(tmp_path):
    genes = ["ID\tX", *V2[1:]]
    adata = read_counts(folder(tmp_path / "m", genes=genes))
    assert adata.var_names[0] == "X"
    with pytest.raises(InputError, match="names for 3 cells and 6 genes"):
        read_counts(folder(tmp_path / "n", genes=["TP53\tTP53", *V2]))


def test_symbols_of_kallisto_and_bustools(tmp_path):
    names = ("cells_x_genes.mtx", "cells_x_genes.barcodes.txt", "cells_x_genes.genes.txt")
    path = folder(tmp_path / "m", genes=IDS, matrix=MATRIX, names=names)
    assert list(read_counts(path).var_names) == IDS
    (path / "cells_x_genes.genes.names.txt").write_text("\n".join(SYMBOLS) + "\n")
    adata = read_counts(path)
    assert list(adata.var_names) == SYMBOLS
    assert list(adata.var["gene_ids"]) == IDS


def test_spliced_unspliced_and_ambiguous_counts_are_no_genes(tmp_path):
    names = ("quants_mat.mtx", "quants_mat_rows.txt", "quants_mat_cols.txt")
    genes = [i + end for end in ("", "-U", "-A") for i in IDS]
    with pytest.raises(InputError, match=r"every gene occurs three times.*ENSG00000000000-U"):
        read_counts(folder(tmp_path / "m", genes=genes, matrix=np.hstack([MATRIX] * 3), names=names))


@pytest.mark.parametrize(("last", "said"), [("\n", False), ("", True)])
def test_a_last_line_without_an_end_is_said(tmp_path, caplog, last, said):
    with caplog.at_level(logging.INFO):
        read_counts(folder(tmp_path / "m", last=last))
    assert ("if the file was cut short" in caplog.text) is said


def test_a_folder_of_matrices_of_other_names(tmp_path):
    path = folder(tmp_path / "m")
    usual = read_counts(path)
    (path / "matrix.mtx").rename(path / "DGE.mtx")
    assert (read_counts(path).X != usual.X).nnz == 0
    (path / "barcodes.tsv").rename(path / "cell_metadata.csv")
    with pytest.raises(InputError, match=r"no barcodes\.tsv \(gzipped or not\) beside DGE\.mtx"):
        read_counts(path)


def test_a_packed_list_says_itself_whether_it_is_complete(tmp_path, caplog):
    path = folder(tmp_path / "m")
    (path / "barcodes.tsv").write_bytes(gzip.compress("\n".join(CELLS).encode()))
    with caplog.at_level(logging.INFO):
        read_counts(path)
    assert "cut short" not in caplog.text


def test_names_with_blanks_at_their_ends(tmp_path, caplog):
    """Lists of barcodes and genes, and cells that metadata are joined to."""
    from scipy.io import mmwrite

    folder = tmp_path / "m"
    folder.mkdir()
    counts = np.array([[1, 2], [0, 3], [4, 0]])
    mmwrite(folder / "matrix.mtx", sparse.coo_matrix(counts), field="integer")
    (folder / "barcodes.tsv").write_text("AAAC-1 \nAAAG-1\t\n")
    (folder / "genes.tsv").write_text("ENSG1 \t A\nENSG2\tB \nENSG3\tC\n")
    adata = read_counts(folder)
    assert (list(adata.obs_names), list(adata.var_names)) == (["AAAC-1", "AAAG-1"], ["A", "B", "C"])
    assert list(adata.var["gene_ids"]) == ["ENSG1", "ENSG2", "ENSG3"]

    adata.obs_names = ["AAAC-1 ", "AAAG-1"]
    anndata.AnnData(adata.X, obs=adata.obs, var=adata.var).write_h5ad(tmp_path / "a.h5ad")
    (tmp_path / "m.csv").write_text("bc,donor\n AAAC-1,d1\nAAAG-1 ,d2\n")
    joined = read_dataset(counts=str(tmp_path / "a.h5ad"), metadata=str(tmp_path / "m.csv"))
    assert list(joined.obs["donor"]) == ["d1", "d2"]


@pytest.mark.parametrize(("first", "refused"), [(1, True), (0, False), (5, False)])
def test_rows_that_are_numbered_from_another_number(tmp_path, first, refused):
    """R numbers rows from 1, pandas from 0: joined by number, each cell would get the row of another."""

    n = 20
    cells = pd.DataFrame(index=[str(i) for i in range(n)])
    anndata.AnnData(sparse.eye(n, format="csr"), obs=cells).write_h5ad(tmp_path / "a.h5ad")
    table = "id,ct\n" + "".join(f"{i + first},t{i}\n" for i in range(n))
    (tmp_path / "m.csv").write_text(table)
    if refused:
        with pytest.raises(InputError, match="rows are numbered from 1, the cells of the counts from 0"):
            read_dataset(counts=str(tmp_path / "a.h5ad"), metadata=str(tmp_path / "m.csv"))
    else:
        found = read_dataset(counts=str(tmp_path / "a.h5ad"), metadata=str(tmp_path / "m.csv")).obs["ct"]
        assert list(found.dropna().astype(str)) == [f"t{i - first}" for i in range(first, n)]


def test_barcodes_in_another_column_are_pointed_at(tmp_path):

    anndata.AnnData(sparse.eye(3, format="csr"), obs=pd.DataFrame(index=["a", "b", "c"])).write_h5ad(
        tmp_path / "a.h5ad"
    )
    (tmp_path / "m.csv").write_text(",cell,ct\n1,a,x\n2,b,y\n3,c,y\n")
    with pytest.raises(InputError, match="which are in its column 'cell'"):
        read_dataset(counts=str(tmp_path / "a.h5ad"), metadata=str(tmp_path / "m.csv"))


@pytest.mark.parametrize("first", [0, 1])
def test_row_numbers_before_ids(tmp_path, first):
    rows = [f"{i}\t{row}" for i, row in enumerate(V2, first)]
    adata = read_counts(folder(tmp_path / "m", genes=rows))
    assert (list(adata.var_names), list(adata.var["gene_ids"])) == (SYMBOLS, IDS)


def test_gzipped_and_plain_files_side_by_side_are_told(tmp_path, caplog):
    path = folder(tmp_path / "m")
    with gzip.open(path / "barcodes.tsv.gz", "wt") as file:
        file.write("x\ny\nz\n")
    assert list(read_counts(path).obs_names) == ["x", "y", "z"]
    assert "holds barcodes.tsv.gz and barcodes.tsv: the first is read" in caplog.text


@pytest.mark.parametrize(("gene", "cell"), [("gene", "cellid"), ("GeneName", "CELL_ID"), ("SYMBOL", "Barcode")])
def test_attributes_of_a_loom_in_other_capitals(tmp_path, gene, cell):
    with h5py.File(tmp_path / "a.loom", "w") as file:
        file["matrix"] = MATRIX.T
        file[f"row_attrs/{gene}"] = np.array(SYMBOLS, dtype=h5py.string_dtype())
        file[f"col_attrs/{cell}"] = np.array(CELLS, dtype=h5py.string_dtype())
    adata = read_counts(tmp_path / "a.loom")
    assert (list(adata.var_names), list(adata.obs_names)) == (SYMBOLS, CELLS)


def test_cells_that_are_called_like_genes_of_any_organism(tmp_path):
    """An AnnData the wrong way round: ids of the fly as cells, or barcodes as genes."""
    barcodes = [f"ACGTACGTAC{'ACGT'[i % 4]}{'ACGT'[i // 4]}-1" for i in range(16)]
    for i, genes in enumerate(([f"FBgn00000{j:02d}" for j in range(20)], [f"sym{j}" for j in range(20)])):
        obs, var = pd.DataFrame(index=genes), pd.DataFrame(index=barcodes)
        anndata.AnnData(sparse.csr_matrix(np.ones((20, 16))), obs=obs, var=var).write_h5ad(tmp_path / f"{i}.h5ad")
        with pytest.raises(InputError, match=f"genes where cells should be \\('{genes[0]}'"):
            read_counts(tmp_path / f"{i}.h5ad")


@pytest.mark.parametrize("turned", [False, True])
def test_a_square_matrix_is_told_by_its_totals(tmp_path, caplog, turned):
    """As many cells as genes: totals of genes differ by orders of magnitude, those of cells do not."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(np.exp(rng.normal(0, 1.5, 30)), (30, 30)) + np.eye(30, dtype=int)
    cells, genes = [f"c{i}" for i in range(30)], [f"i{i}\tg{i}" for i in range(30)]
    path = folder(tmp_path / "m", matrix=counts if turned else counts.T, cells=cells, genes=genes)
    assert np.array_equal(read_counts(path).X.toarray(), counts)
    assert ("because totals differ more between its columns" in caplog.text) == turned


@pytest.mark.parametrize("mark", [" ", ","])
def test_lists_as_r_writes_tables(tmp_path, mark):
    """With row numbers and a header, quoted."""
    cells = [f'""{mark}"x"', *(f'"{i}"{mark}"{cell}"' for i, cell in enumerate(CELLS, 1))]
    rows = enumerate(zip(IDS, SYMBOLS, strict=True), 1)
    genes = [mark.join(['""', '"V1"', '"V2"']), *(mark.join(f'"{part}"' for part in (i, *row)) for i, row in rows)]
    adata = read_counts(folder(tmp_path / "m", cells=cells, genes=genes))
    assert (list(adata.obs_names), list(adata.var_names)) == (CELLS, SYMBOLS)
    assert list(adata.var["gene_ids"]) == IDS
