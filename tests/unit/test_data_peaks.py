"""Names of peaks become coordinates, and the gene nearest to each."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sclatent.data.modalities.peaks import are_peaks, coordinates, nearest_genes, with_coordinates
from sclatent.settings import InputError

CHROMOSOMES = st.sampled_from(["chr1", "chrX", "X", "1", "GL000194.1", "chrUn_KI270742v1", "chr1_KI270706v1_random"])
FORMS = st.sampled_from(["{}:{}-{}", "{}-{}-{}", "{}_{}_{}"])


@given(CHROMOSOMES, FORMS, st.integers(0, 10**8), st.integers(1, 10**5))
def test_every_form_is_read_back(chrom, form, start, width):
    name = form.format(chrom, start, start + width)
    row = coordinates([name]).iloc[0]
    assert (row["chrom"], row["start"], row["end"]) == (chrom, start, start + width)
    assert coordinates([f"GRCh38_{name}"]).iloc[0]["chrom"] == chrom


@pytest.mark.parametrize(
    "name", ["TP53", "chr1", "chr1:5", "chr1:20-10", "chr1:7-7", "HLA-DRB1", "ENSG00000141510", "", "chr1:a-b", "1-2"]
)
def test_what_is_no_peak(name):
    assert coordinates([name])["chrom"].isna().all()


def test_a_table_of_genes_is_not_one_of_peaks():
    assert are_peaks(["chr1:1-2", "chr2_5_9", "TP53"])
    assert not are_peaks(["TP53", "MYC", "chr1:1-2"])
    assert not are_peaks([])


def test_columns_are_taken_before_names():
    var = pd.DataFrame({"seqnames": ["chr7", "chr7"], "Start": ["5", "50"], "end": [9, 90]}, index=["peak_1", "peak_2"])
    found = with_coordinates(var, "file")
    assert list(found["chrom"]) == ["chr7", "chr7"]
    assert found["start"].tolist() == [5, 50]
    assert found["end"].dtype == np.int64


def test_a_peak_without_coordinates_is_one_line():
    with pytest.raises(InputError, match=r"x.yaml: modalities.atac: 1 of 2 peaks .* such as 'TP53': expected") as error:
        with_coordinates(pd.DataFrame(index=["chr1:1-5", "TP53"]), "x.yaml: modalities.atac")
    assert "\n" not in str(error.value)


def test_the_nearest_gene_is_on_the_same_chromosome():
    peaks = coordinates(["chr1:100-200", "chr1:900-1000", "chr2:1-9", "chr1:5000-5100"])
    genes = pd.DataFrame(
        {"chrom": ["chr1", "chr1", "chr3"], "start": [0, 1100, 0], "end": [400, 2000, 9]}, index=["A", "B", "C"]
    )
    assert list(nearest_genes(peaks, genes)) == ["A", "B", "", "B"]


@given(
    st.lists(st.integers(0, 10**6), min_size=1, max_size=30), st.lists(st.integers(0, 10**6), min_size=1, max_size=9)
)
def test_the_nearest_gene_is_nearest(peaks, genes):
    table = pd.DataFrame(
        {"chrom": "1", "start": peaks, "end": [p + 10 for p in peaks]}, index=[f"p{i}" for i in range(len(peaks))]
    )
    known = pd.DataFrame(
        {"chrom": "1", "start": genes, "end": [g + 100 for g in genes]}, index=[f"g{i}" for i in range(len(genes))]
    )
    for peak, name in zip(peaks, nearest_genes(table, known), strict=True):
        away = [max(g - (peak + 5), peak + 5 - (g + 100), 0) for g in genes]
        assert away[int(name[1:])] == min(away)
