"""Gene ids: with and without version, in columns of many names, and those that quality control asks for."""

import anndata
import numpy as np
import pandas as pd
import pytest

from sclatent.data import cycle_genes, symbol_column
from sclatent.data.gene_ids import gene_ids, id_column, qc_ids, read_list, strip_version
from sclatent.pp import is_mitochondrial, is_ribosomal
from sclatent.pp._families import is_spike_in
from sclatent.pp._genes import gene_symbols


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("ENSG00000141510", "ENSG00000141510"),
        ("ENSG00000141510.17", "ENSG00000141510"),
        ("ENSG00000141510.17_2", "ENSG00000141510"),
        ("ENSMUSG00000064336.1", "ENSMUSG00000064336"),
        ("ENSG00000182378.15_PAR_Y", "ENSG00000182378_PAR_Y"),
        ("ENSG00000182378_PAR_Y", "ENSG00000182378_PAR_Y"),
        ("ENSGR0000182378.8", "ENSG00000182378_PAR_Y"),
        ("RP11-34P13.7", "RP11-34P13.7"),
        ("AL669831.5", "AL669831.5"),
        ("ENST00000269305.9", "ENST00000269305.9"),
        ("", ""),
    ],
)
def test_versions(name, bare):
    assert strip_version(name) == bare


def test_ids_of_two_genomes_lose_the_name_of_the_genome():
    var = pd.DataFrame({"gene_ids": ["GRCh38_ENSG00000141510.3", "mm10___ENSMUSG00000059552"]}, index=["a", "b"])
    assert gene_ids(var) == ["ENSG00000141510", "ENSMUSG00000059552"]


def test_columns_of_ids():
    ids = ["ENSG00000141510.1", "ENSG00000111640.2"]
    names = [
        "gene_ids",
        "gene_id",
        "ensembl_id",
        "Ensembl.ID",
        "ENSEMBL",
        "Accession",
        "ensembl_gene_id",
        "feature_id",
        "id",
    ]
    for name in names:
        var = pd.DataFrame({"score": [1.0, 2.0], name: ids}, index=["TP53", "GAPDH"])
        assert id_column(var) == name
        assert gene_ids(var) == ["ENSG00000141510", "ENSG00000111640"]
    assert id_column(pd.DataFrame({"id": ["a", "b"]})) is None
    assert gene_ids(pd.DataFrame(index=["TP53", "GRCh38_ENSG00000111640.2"])) == ["", "ENSG00000111640"]
    gaps = pd.DataFrame({"gene_ids": [None, "ENSG00000111640"]}, index=["ENSG00000141510.4", "GAPDH"])
    assert gene_ids(gaps) == ["ENSG00000141510", "ENSG00000111640"]


@pytest.mark.parametrize(
    "name", ["gene_symbol", "gene_symbols", "gene_name", "gene_names", "symbol", "feature_name", "Symbol"]
)
def test_usual_columns_of_symbols_without_cycle_genes(name):
    var = pd.DataFrame(
        {"chromosome": ["1", "2"], name: ["CD3D", "MT-ND1"]}, index=["ENSG00000167286", "ENSG00000198888"]
    )
    assert symbol_column(var) == name
    assert symbol_column(var.assign(**{name: list(var.index)})) is None


@pytest.mark.parametrize(("organism", "prefix"), [("human", "ENSG"), ("mouse", "ENSMUSG")])
def test_the_table_of_ids(organism, prefix):
    table = read_list("qc_genes.tsv")
    table = table[table["organism"] == organism]
    assert table["ensembl"].is_unique
    assert table["ensembl"].str.fullmatch(prefix + r"\d{11}").all()
    mito = table[table["kind"] == "mt"]["symbol"]
    # 13 proteins, 2 rRNAs, 22 tRNAs
    assert len(mito) == 37
    assert mito.str.upper().str.fullmatch("MT-RNR[12]").sum() == 2
    assert mito.str.upper().str.fullmatch("MT-T[A-Z][12]?").sum() == 22
    assert is_mitochondrial(list(mito)).all()
    ribo = table[table["kind"] == "ribo"]["symbol"]
    assert ribo.nunique() > 80
    assert is_ribosomal(list(ribo)).all()


def test_ids_agree_with_the_symbols_of_real_sets(shared_data):
    checked = 0
    for name in ("lung3cl_celseq2_dropseq", "mls_sorted_ensembl", "mesc_media_two_batches", "neurosphere_mouse"):
        var = anndata.read_h5ad(shared_data / f"{name}.h5ad", backed="r").var
        ids = gene_ids(var)
        symbols = list((var["gene_symbol"] if "gene_symbol" in var else var.index.to_series()).astype(str))
        for tell, kind in ((is_mitochondrial, "mt"), (is_ribosomal, "ribo")):
            by_symbol = tell(symbols)
            by_id = np.isin(ids, list(qc_ids(kind)))
            with_id = np.array([bool(gene) for gene in ids])
            assert (by_symbol[with_id] == by_id[with_id]).all(), (name, kind)
            checked += int(by_id.sum())
    assert checked > 200


def test_cycle_genes_are_found_by_id_wherever_it_stands(tmp_path):
    """The built-in list has ids; a list of one's own may hold nothing else."""
    from sclatent.tl._cycle.scores import find_list_genes

    listed = cycle_genes("human")
    (tmp_path / "own.tsv").write_text(
        "gene\tphase\n" + "".join(f"{i}\t{p}\n" for i, p in zip(listed["ensembl"], listed["phase"], strict=True))
    )
    var = pd.DataFrame(
        {"Accession": [f"{i}.4" for i in listed["ensembl"]]}, index=[f"gene{i}" for i in range(len(listed))]
    )
    for path in (None, str(tmp_path / "own.tsv")):
        found = find_list_genes(var, np.ones(len(var)), "human", path)
        assert list(found.position) == list(range(len(listed)))


@pytest.mark.parametrize(
    ("name", "gene_id", "symbol"),
    [
        ("ENSG00000141510_TP53", "ENSG00000141510", "TP53"),
        ("ENSG00000141510.12|TP53", "ENSG00000141510", "TP53"),
        ("HLA-A;ENSG00000206503", "ENSG00000206503", "HLA-A"),
        ("GRCh38_TP53_ENSG00000141510", "ENSG00000141510", "TP53"),
        ("FBgn0000042_Act5C", "FBgn0000042", "Act5C"),
        ("TP53__chr17", "", "TP53"),
    ],
)
def test_names_that_hold_id_and_symbol(name, gene_id, symbol):
    """Lists of genes are matched to the symbol, samples are joined by the id."""
    adata = anndata.AnnData(np.ones((2, 1)), var=pd.DataFrame(index=[name]))
    assert gene_ids(adata.var) == [gene_id]
    assert gene_symbols(adata, None, "x.yaml") == ([symbol], "names")


@pytest.mark.parametrize("name", ["ENSG00000182378.15_PAR_Y", "ENSG00000141510.12_3", "HLA-A", "RP11-34P13.7", "A_B"])
def test_names_that_are_one_word(name):
    adata = anndata.AnnData(np.ones((2, 1)), var=pd.DataFrame(index=[name]))
    assert gene_symbols(adata, None, "x.yaml") == ([name], "names")


@pytest.mark.parametrize("names", ["FBgn000{:04d}", "WBGene0000{:04d}", "YAL{:03d}W", "AT1G0{:04d}", "{}"])
@pytest.mark.parametrize("column", ["anything", "gene_short_name"])
def test_symbols_beside_ids_of_any_organism_are_found(names, column):
    known = list(cycle_genes("human")["gene"])
    symbols = known if column == "anything" else [f"sym{i}" for i in range(50)]
    var = pd.DataFrame({column: symbols}, index=[names.format(7 * i + 3) for i in range(len(symbols))])
    assert gene_symbols(anndata.AnnData(np.ones((2, len(var))), var=var), None, "x.yaml") == (symbols, column)


def test_families_of_other_organisms():
    assert list(is_mitochondrial(["mt:CoI", "mt-nd1", "MT.CO1", "MTOR"])) == [True, True, True, False]
    assert list(is_spike_in(["ERCC-00002", "gSpikein_ERCC-00004", "SIRV101", "ERCC1"])) == [True, True, True, False]


@pytest.mark.parametrize("organism", ["human", "mouse"])
def test_ids_alone_tell_the_cycle_genes_and_the_organism(organism):
    """No symbol anywhere: the list of the right organism is found by id, and the wrong one says which is right."""
    from sclatent.tl._cycle.scores import find_list_genes

    ids = list(cycle_genes(organism)["ensembl"])
    assert all(ids)
    assert len(set(ids)) == len(ids)
    var = pd.DataFrame(index=[f"{name}.3" for name in ids])
    found = find_list_genes(var, np.ones(len(var)), organism, None)
    assert not found.reason
    assert list(found.position) == list(range(len(ids)))
    other = {"human": "mouse", "mouse": "human"}[organism]
    reason = find_list_genes(var, np.ones(len(var)), other, None).reason
    assert f"organism is {other}, but only 0 of 97" in reason
    assert f"set `organism: {organism}`" in reason


def test_ids_of_the_mouse_s_cycle_genes_are_those_of_data(shared_data):
    listed = cycle_genes("mouse").set_index("gene")["ensembl"]
    var = anndata.read_h5ad(shared_data / "neurosphere_mouse.h5ad", backed="r").var
    ids = pd.Series(var.index, index=var["gene_symbol"].astype(str))
    both = listed.index.intersection(ids.index)
    assert len(both) > 40
    assert (listed[both] == ids[both]).all()
