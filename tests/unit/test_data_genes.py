"""Gene lists and matching: against names from real files, and against mistakes."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from sclatent.data import cycle_genes, match_genes, peak_order, symbol_column
from sclatent.data.gene_ids import clean_names, look_like_ids
from sclatent.settings import InputError


def test_lists_are_those_of_the_paper(shared_data):
    table = pd.read_csv(shared_data / "cell_cycle_genes.tsv", sep="\t")
    for organism, source in (("human", "tirosh_2016"), ("mouse", "tirosh_2016_mouse_orthologs")):
        theirs = table[table["source"] == source]
        ours = cycle_genes(organism)
        assert dict(zip(ours["gene"], ours["phase"], strict=True)) == dict(
            zip(theirs["gene"], theirs["phase"], strict=True)
        )


@pytest.mark.parametrize("organism", ["human", "mouse"])
def test_lists_have_no_gene_twice(organism):
    table = cycle_genes(organism)
    assert table["phase"].value_counts().to_dict() == {"S": 43, "G2M": 54}
    ids = table["ensembl"][table["ensembl"] != ""]
    assert table["gene"].is_unique
    assert ids.is_unique
    assert ids.str.fullmatch(r"ENS(MUS)?G\d{11}").all()


def test_ensembl_ids_agree_with_another_annotation(shared_data):
    var = ad.read_h5ad(shared_data / "ipsc_fucci.h5ad", backed="r").var
    table = cycle_genes("human").set_index("gene")
    common = table.index.intersection(var.index)
    assert len(common) > 30
    assert (table.loc[common, "ensembl"] == var.loc[common, "ensembl_id"]).all()


def test_renamed_genes_are_found_under_either_name():
    table = cycle_genes("human")
    for names in (["FAM64A", "HN1", "MLF1IP"], ["PIMREG", "JPT1", "CENPU"]):
        found = match_genes(names, list(table["gene"]), aliases=list(table["aliases"]))
        assert sorted(found[found >= 0]) == [0, 1, 2]


def test_two_genes_of_one_symbol_the_abundant_one_is_taken():
    names = ["TOP2A", "PCNA", "TOP2A"]
    assert match_genes(names, ["TOP2A"]).tolist() == [0]
    assert match_genes(names, ["TOP2A"], weights=np.array([1.0, 5.0, 9.0])).tolist() == [2]


def test_a_position_is_given_once():
    assert match_genes(["CENPU"], ["MLF1IP", "CENPU"], aliases=["CENPU", ""]).tolist() == [0, -1]


def test_case_matters_unless_told():
    assert match_genes(["Top2a"], ["TOP2A"]).tolist() == [-1]
    assert match_genes(["Top2a", "TOP2A"], ["TOP2A"], ignore_case=True).tolist() == [1]


def test_names_are_cleaned():
    assert clean_names(["GRCh38_TOP2A", "mm10___Top2a", "ENSG00000131747.15", " PCNA "]) == [
        "TOP2A",
        "Top2a",
        "ENSG00000131747",
        "PCNA",
    ]
    assert look_like_ids(["ENSG00000131747.15", "ENSMUSG00000020914", "PCNA"])
    assert not look_like_ids(["TOP2A", "PCNA"])


def test_symbol_column_is_found_in_a_real_file(shared_data):
    var = ad.read_h5ad(shared_data / "mls_sorted_ensembl.h5ad", backed="r").var
    assert symbol_column(var) == "gene_symbol"
    assert symbol_column(var.set_index("gene_symbol")) is None
    assert symbol_column(var[[]]) is None


def test_peak_order_is_a_ranking():
    order = peak_order()
    assert order["gene"].is_unique
    assert set(order["rank"]) == {1, 2, 3, 4, 5}
    rank = order.set_index("gene")["rank"]
    assert rank["CCNE2"] < rank["TOP2A"] < rank["CCNB1"]
    lists = cycle_genes("human").set_index("gene")["phase"]
    both = rank.index.intersection(lists.index)
    assert (rank[both][lists[both] == "S"] <= 2).all()
    assert (rank[both][lists[both] == "G2M"] >= 3).all()


def write(tmp_path, text, name="own.tsv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_own_list(tmp_path):
    table = cycle_genes("zebrafish", write(tmp_path, "gene\tphase\npcna\tG1/S\ntop2a\tG2/M\nccnd1\tG1\n"))
    assert table[["gene", "phase"]].values.tolist() == [["pcna", "S"], ["top2a", "G2M"]]
    assert len(cycle_genes("zebrafish", write(tmp_path, "gene,phase\npcna,s\n", "own.csv"))) == 1


@pytest.mark.parametrize(
    ("text", "needle"),
    [
        ("gene\tstage\npcna\tS\n", "no column 'phase'"),
        ("gene\tphase\npcna\tprophase\n", "phase 'prophase'"),
        ("gene\tphase\npcna\tS\npcna\tG2M\n", "'pcna' in two phases"),
        ("", "cannot be read"),
    ],
)
def test_own_list_with_a_mistake(tmp_path, text, needle):
    with pytest.raises(InputError, match=needle) as error:
        cycle_genes("human", write(tmp_path, text))
    assert "\n" not in str(error.value)


def test_unknown_organism_and_missing_file(tmp_path):
    with pytest.raises(InputError, match="did you mean 'human'"):
        cycle_genes("humans")
    with pytest.raises(InputError, match="there is no file"):
        cycle_genes("human", tmp_path / "nothing.tsv")
