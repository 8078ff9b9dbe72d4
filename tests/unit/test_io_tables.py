"""Dense tables as spreadsheets and other programs write them: the counts are right, or one line says why not."""

import logging

import numpy as np
import pandas as pd
import pytest

from sclatent import InputError
from sclatent.data import cycle_genes
from sclatent.io import read_counts

CELLS = ["AAACCTGAGAAACC-1", "AAACCTGAGAAACG-1", "AAACCTGAGAAACT-1"]
GENES = [*cycle_genes("human")["gene"][:6], "GENE1"]
COUNTS = np.arange(21).reshape(3, 7)


def write(path, text):
    path.write_bytes(text.encode())
    return path


def table(separator=",", corner=""):
    """Genes in rows, cells in columns."""
    frame = pd.DataFrame(COUNTS.T, index=pd.Index(GENES, name=corner), columns=CELLS)
    return frame.to_csv(sep=separator, lineterminator="\n")


@pytest.mark.parametrize(
    "text",
    [
        table().replace(",", ", "),
        table("\t").replace("\t", " \t "),
        table().replace("\n", ",\n"),
        table("\t").replace("\n", "\t\n"),
        table("\t").replace("\n", "\t\r\n"),
        "".join(line + ("\n" if i == 0 else ";\n") for i, line in enumerate(table(";").splitlines())),
        "".join(line + ("\n" if i == 0 else ",\n") for i, line in enumerate(table(corner="gene").splitlines())),
        "".join(f" {line}\n" for line in table("\t", "gene").splitlines()),
        ", ".join(f'"{cell}"' for cell in CELLS)
        + "\n"
        + "".join(f'"{gene}", ' + ", ".join(map(str, row)) + "\n" for gene, row in zip(GENES, COUNTS.T, strict=True)),
    ],
)
def test_blanks_and_separators_at_ends_are_nothing(tmp_path, text):
    adata = read_counts(write(tmp_path / "a.csv", text))
    assert list(adata.obs_names) == CELLS
    assert list(adata.var_names) == GENES
    assert np.array_equal(adata.X.toarray(), COUNTS)


def test_a_value_that_lacks_at_the_end_is_no_separator(tmp_path):
    """Under a header as R writes it the last field of each row is the last cell's."""
    header, *rows = table().splitlines()
    text = header.removeprefix(",") + "\n" + "".join(row.rpartition(",")[0] + ",\n" for row in rows)
    with pytest.raises(InputError, match=r"found 'nothing', expected a count: fill it in"):
        read_counts(write(tmp_path / "a.csv", text))


@pytest.mark.parametrize("name", ["nCount_RNA", "percent.mt", "seurat_clusters", "Total", "Length", "n_genes"])
@pytest.mark.parametrize("turned", [False, True])
def test_columns_that_are_no_counts_are_not_read_as_counts(tmp_path, name, turned):
    frame = pd.DataFrame(COUNTS, index=CELLS, columns=GENES)
    frame[name] = 3
    (frame.T if turned else frame).to_csv(tmp_path / "a.csv")
    with pytest.raises(InputError, match=f"'{name}' is neither a gene nor a cell"):
        read_counts(tmp_path / "a.csv")


@pytest.mark.parametrize("word", ["", "NA", "NaN", "-"])
def test_words_for_a_missing_value(tmp_path, word):
    text = table().replace(",20\n", f",{word}\n")
    with pytest.raises(InputError, match=r"row 'GENE1': found .* 0 where nothing was counted"):
        read_counts(write(tmp_path / "a.csv", text))


IDS = {
    "fly": "FBgn00000{:02d}",
    "worm": "WBGene000000{:02d}",
    "yeast": "YAL0{:02d}W-A",
    "plant": "AT1G010{:02d}",
    "malaria": "PF3D7_01000{:02d}",
    "simulated": "Gene{}",
    "id and symbol": "ENSG000000000{:02d}_G-{}",
    "symbol and place": "Abc{}__chr1",
}
NAMES = {"cell": "Cell{}", "run": "SRR50000{}", "well": "plate3_B{:02d}", "R": "X.{}"}


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("ids", IDS)
@pytest.mark.parametrize("turned", [False, True])
def test_genes_of_any_organism_are_told_from_cells(tmp_path, ids, names, turned):
    cells = [NAMES[names].format(i) for i in range(1, 13)]
    genes = [IDS[ids].format(i, i) for i in range(1, 10)]
    counts = np.random.default_rng(0).poisson(3, (12, 9))
    frame = pd.DataFrame(counts, index=cells, columns=genes)
    (frame.T if turned else frame).to_csv(tmp_path / "a.csv")
    adata = read_counts(tmp_path / "a.csv")
    assert list(adata.var_names) == genes
    assert np.array_equal(adata.X.toarray(), counts)


@pytest.mark.parametrize("corner", ["gene_id", "Gene", "Symbol", "barcode", "cell_id", "CellID", ""])
@pytest.mark.parametrize("turned", [False, True])
def test_names_that_tell_nothing_leave_it_to_the_corner_and_the_totals(tmp_path, caplog, corner, turned):
    rng = np.random.default_rng(0)
    counts = rng.poisson(np.exp(rng.normal(0, 2, 30)), (40, 30)) + np.eye(40, 30, dtype=int)
    frame = pd.DataFrame(counts, index=[f"a{i}" for i in range(40)], columns=[str(i) for i in range(30)])
    frame = frame.T if turned else frame
    frame.index.name = corner
    frame.to_csv(tmp_path / "a.csv")
    with caplog.at_level(logging.WARNING):
        adata = read_counts(tmp_path / "a.csv")
    by_corner = "ene" in corner or "Symbol" in corner
    genes_in_rows = by_corner if corner else turned
    assert adata.uns["sclatent"]["read"]["orientation"] == ("genes_by_cells" if genes_in_rows else "cells_by_genes")
    assert ("set `orientation` if that is wrong" in caplog.text) == (not corner)


def test_titles_and_second_headers_are_not_read_as_counts(tmp_path):
    text = table(corner="gene")
    header, rows = text.split("\n", 1)
    for broken, said in (
        ("My experiment\n" + text, r"the first line \('My experiment'\) is no header of the rows below, .* by commas"),
        ("My experiment,x\n" + text.replace("-1", "-1,x,y,z", 1), "the header has 2 fields, the rows have .* a title"),
        (f"{header}\n,1,2,1\n{rows}", "the first row below the header has no name"),
        (f"{header}\ngroup,1,2,1\n{rows}", "row 'group' is neither a gene nor a cell"),
        (f",,{CELLS[1]},{CELLS[2]}\n{rows}", "the first column of counts has no name"),
    ):
        with pytest.raises(InputError, match=said):
            read_counts(write(tmp_path / "a.csv", broken))


def test_a_row_that_is_too_long_is_named_by_its_line(tmp_path):
    lines = ["# a comment", *table(corner="gene").splitlines()]
    lines[5] += ",1"
    with pytest.raises(InputError, match="line 6 has 5 fields, the rows above it have 4: every row needs as many"):
        read_counts(write(tmp_path / "a.csv", "\n".join(lines)))
