"""Samples are joined by what a gene is: by id without version, else by name, never by the order of repeated names."""

import logging

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sclatent.io import read_dataset, write_h5ad
from sclatent.settings import InputError

IDS = [f"ENSG{i:011d}" for i in range(1, 7)]


def write(path, matrix, names, ids=None, column="gene_ids"):
    """Write a sample; the names may repeat."""
    var = pd.DataFrame({column: ids} if ids is not None else {}, index=list(names))
    obs = pd.DataFrame(index=[f"AAAC{i}-1" for i in range(len(matrix))])
    anndata.AnnData(sparse.csr_matrix(np.asarray(matrix, dtype=np.float32)), obs, var).write_h5ad(path)
    return str(path)


@pytest.fixture
def join(tmp_path):
    def read(*samples, how="inner"):
        paths = []
        for i, sample in enumerate(samples):
            paths.append(
                {
                    "name": f"s{i + 1}",
                    "path": sample if isinstance(sample, str) else write(tmp_path / f"{i}.h5ad", *sample),
                }
            )
        return read_dataset(counts=paths, join=how)

    return read


VERSIONS = {
    "none and one": (IDS, [f"{i}.12" for i in IDS]),
    "another": ([f"{i}.3" for i in IDS], [f"{i}.12" for i in IDS]),
    "a mixture in one sample": (IDS, [i + (".1" if k % 3 else "") for k, i in enumerate(IDS)]),
    "lifted to another genome": (IDS, [f"{i}.5_2" for i in IDS]),
    "mouse": ([i.replace("ENSG", "ENSMUSG") for i in IDS], [i.replace("ENSG", "ENSMUSG") + ".7" for i in IDS]),
}


@pytest.mark.parametrize("how", ["inner", "outer"])
@pytest.mark.parametrize("columns", [("gene_ids", "gene_ids"), ("gene_id", "Accession"), ("ensembl_id", "Ensembl.ID")])
@pytest.mark.parametrize("kind", list(VERSIONS))
def test_versions_are_no_other_genes(join, kind, how, columns):
    first, second = VERSIONS[kind]
    turned = [3, 0, 5, 1, 4, 2]
    adata = join(
        ([[1, 2, 3, 4, 5, 6]], list("ABCDEF"), first, columns[0]),
        ([[10 * (k + 1) for k in turned]], ["ABCDEF"[k] for k in turned], [second[k] for k in turned], columns[1]),
        how=how,
    )
    assert list(adata.var_names) == list("ABCDEF")
    assert adata.X.toarray().tolist() == [[1, 2, 3, 4, 5, 6], [10, 20, 30, 40, 50, 60]]


def test_ids_as_names_meet_ids_in_a_column(join):
    adata = join(([[1, 2]], IDS[:2]), ([[20, 10]], ["B", "A"], [f"{IDS[1]}.4", f"{IDS[0]}.9"]))
    assert list(adata.var_names) == IDS[:2]
    assert adata.X.toarray().tolist() == [[1, 2], [10, 20]]


def test_the_copy_on_y_is_another_gene(join):
    shared = ["ENSG00000182378.15", "ENSG00000182378.15_PAR_Y", "ENSG00000002586.20"]
    old = ["ENSG00000002586", "ENSGR0000182378.8", "ENSG00000182378.8"]
    adata = join(
        ([[1, 2, 3]], ["PLCXD1", "PLCXD1", "CD99"], shared),
        ([[30, 20, 10]], ["CD99", "PLCXD1", "PLCXD1"], old),
        how="outer",
    )
    assert adata.X.toarray().tolist() == [[1, 2, 3], [10, 20, 30]]
    assert list(adata.var_names) == ["PLCXD1", "PLCXD1-1", "CD99"]


def test_versions_of_one_id_within_a_sample_stay_apart(join, caplog):
    twice = [f"{IDS[0]}.1", f"{IDS[0]}.2", IDS[1]]
    adata = join(([[1, 2, 3]], list("ABC"), twice), ([[30, 20]], ["C", "B"], [f"{IDS[1]}.7", f"{IDS[0]}.2"]))
    assert list(adata.var_names) == ["B", "C"]
    assert adata.X.toarray().tolist() == [[2, 3], [20, 30]]
    assert f"1 id(s) occur in several versions in sample 's1', such as {IDS[0]}.1, {IDS[0]}.2" in caplog.text


@pytest.mark.parametrize("how", ["inner", "outer"])
def test_repeated_symbols_are_matched_by_id_in_any_order(join, how):
    adata = join(
        ([[1, 2, 3]], ["TBCE", "TBCE", "CD3D"], IDS[:3], "gene_ids"),
        ([[30, 20, 10]], ["CD3D", "TBCE", "TBCE"], [f"{IDS[2]}.1", f"{IDS[1]}.4", f"{IDS[0]}.2"], "Accession"),
        how=how,
    )
    assert list(adata.var_names) == ["TBCE", "TBCE-1", "CD3D"]
    assert adata.X.toarray().tolist() == [[1, 2, 3], [10, 20, 30]]


def test_a_loom_file_meets_a_10x_file(join, tmp_path):
    with h5py.File(tmp_path / "a.loom", "w") as file:
        file["matrix"] = np.array([[30, 31], [20, 21], [10, 11]])
        file["row_attrs/Gene"] = np.array(["CD3D", "TBCE", "TBCE"], "S")
        file["row_attrs/Accession"] = np.array([IDS[2], IDS[1], IDS[0]], "S")
        file["col_attrs/CellID"] = np.array(["c1", "c2"], "S")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        matrix = sparse.csr_matrix([[1, 2, 3]])
        for name in ("data", "indices", "indptr"):
            file[f"matrix/{name}"] = getattr(matrix, name)
        file["matrix/shape"], file["matrix/barcodes"] = np.array([3, 1]), np.array(["c1"], "S")
        file["matrix/features/id"] = np.array(IDS[:3], "S")
        file["matrix/features/name"] = np.array(["TBCE", "TBCE", "CD3D"], "S")
    adata = join(str(tmp_path / "b.h5"), str(tmp_path / "a.loom"))
    assert adata.X.toarray().tolist() == [[1, 2, 3], [10, 20, 30], [11, 21, 31]]


def test_repeated_symbols_without_ids_in_another_order_are_refused(join):
    said = r"1 gene name\(s\) occur more than once in sample 's1' and are in sample 's2', too.*\('TBCE'\): they cannot"
    for second in (["CD3D", "TBCE", "TBCE"], ["CD3D", "TBCE", "ACTB"]):
        with pytest.raises(InputError, match=said):
            join(([[1, 2, 3]], ["TBCE", "TBCE", "CD3D"]), ([[3, 2, 1]], second))
    # ids in one of the samples tell nothing about the other
    with pytest.raises(InputError, match=said):
        join(([[1, 2, 3]], ["TBCE", "TBCE", "CD3D"], IDS[:3]), ([[3, 2, 1]], ["CD3D", "TBCE", "TBCE"]))


def test_repeated_symbols_that_no_other_sample_has_are_no_question(join, tmp_path):
    one, other = ([[1, 2, 3]], ["TBCE", "TBCE", "CD3D"]), ([[30, 9]], ["CD3D", "ACTB"])
    assert join(one, other).X.toarray().tolist() == [[3], [30]]
    outer = join(one, other, how="outer")
    assert list(outer.var_names) == ["TBCE", "TBCE-1", "CD3D", "ACTB"]
    write_h5ad(outer, tmp_path / "out.h5ad")


def test_the_same_list_of_genes_in_the_same_order_is_one_list(join):
    names = ["TBCE", "TBCE", "CD3D"]
    assert join(([[1, 2, 3]], names), ([[4, 5, 6]], names)).X.toarray().tolist() == [[1, 2, 3], [4, 5, 6]]


def test_ids_of_other_kinds_give_way_to_names(join):
    adata = join(([[1, 2]], ["A", "B"], ["11", "12"]), ([[20, 10]], ["B", "A"], IDS[:2]))
    assert adata.X.toarray().tolist() == [[1, 2], [10, 20]]


def test_a_gene_without_an_id_goes_by_its_name(join):
    adata = join(([[1, 2, 3]], list("ABC"), [IDS[0], IDS[1], ""]), ([[30, 10, 20]], ["C", "X", "B"], ["", *IDS[:2]]))
    assert adata.X.toarray().tolist() == [[1, 2, 3], [10, 20, 30]]


def test_losses_are_said_with_numbers(join, caplog):
    names = list("ABCDEF")
    other = [*IDS[:2], *(i.replace("ENSG", "ENSG9") for i in IDS[2:])]
    with caplog.at_level(logging.INFO):
        assert join(([[1] * 6], names, IDS), ([[2] * 6], names, other)).n_vars == 2
    assert (
        "only 2 genes are common to all samples; the smallest sample has 6; lost: 4 of 6 in s1, 4 of 6 in s2"
        in caplog.text
    )
    assert "4 gene(s) are lost although every sample has the name, because the ids differ, such as C (" in caplog.text
    caplog.clear()
    assert join(([[1] * 6], names, IDS), ([[2] * 6], names, other), how="outer").n_vars == 10
    assert "4 gene name(s) belong to more than one id, such as C (" in caplog.text


def test_a_join_that_loses_nothing_says_nothing(join, caplog):
    with caplog.at_level(logging.WARNING):
        join(([[1, 2]], ["A", "B"], IDS[:2]), ([[2, 1]], ["B", "A"], [f"{IDS[1]}.1", f"{IDS[0]}.1"]))
    assert caplog.text == ""


def test_names_that_were_made_unique_elsewhere_are_a_doubt(join, caplog):
    join(([[1, 2, 3]], ["TBCE", "TBCE-1", "CD3D"]), ([[3, 1, 2]], ["CD3D", "TBCE", "TBCE-1"]))
    assert "1 gene name(s) such as 'TBCE-1' look as if a suffix told repeated symbols apart" in caplog.text
    join(([[1, 2, 3]], ["TBCE", "TBCE.1", "CD3D"]), ([[3, 1, 2]], ["CD3D", "TBCE", "TBCE.1"]))
    assert "1 gene name(s) such as 'TBCE.1' look as if" in caplog.text
    caplog.clear()
    join(([[1, 2]], ["AL669831.5", "CD3D"]), ([[3, 1]], ["CD3D", "AL669831.5"]))
    join(([[1, 2]], ["NKX2-1", "CD3D"]), ([[3, 1]], ["CD3D", "NKX2-1"]))
    assert caplog.text == ""
