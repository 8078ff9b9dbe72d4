"""Tables of text come back as they were written; a row is never lost without a word."""

import csv
import gzip
import io
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sclatent.data import cycle_genes
from sclatent.data.programs import read_gmt
from sclatent.data.tables import read_text_table
from sclatent.io._metadata import read_metadata
from sclatent.settings import InputError

WORD = st.one_of(
    st.text(alphabet="abN 01,;\t\"'-.#é", max_size=6),
    st.sampled_from(
        ["NA", "None", "nan", "null", "001", "1E3", "2e10", "1_000", "inf", "0x1F", "+5", "NO", "2024-01-01"]
    ),
)
LINES = st.text(alphabet='ab\n,"', max_size=6)


def tables(word):
    """Return a strategy of tables: names of columns, and rows that begin with the name of a cell."""
    return st.integers(1, 4).flatmap(
        lambda n: st.tuples(
            st.lists(
                st.text(alphabet="xyz,;\t ", min_size=1).map(lambda t: f"c{t}c"), min_size=n, max_size=n, unique=True
            ),
            st.lists(st.lists(word, min_size=n, max_size=n), min_size=1, max_size=6),
        )
    )


def written(path, table, **how):
    names, rows = table
    text = io.StringIO()
    writer = csv.writer(text, **how)
    writer.writerow(["cell", *names])
    writer.writerows([f"AAAC{i}-1", *row] for i, row in enumerate(rows))
    path.write_bytes(text.getvalue().encode())
    return path


HOW = {
    "delimiter": st.sampled_from(",;\t"),
    "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    "lineterminator": st.sampled_from(["\n", "\r\n"]),
}


@settings(max_examples=400, deadline=None)
@given(table=tables(WORD), **HOW)
def test_any_table_comes_back_as_it_was_written(tmp_path_factory, table, **how):
    found = read_text_table(written(tmp_path_factory.mktemp("t") / "m.csv", table, **how))
    assert found.names == ["cell", *table[0]]
    assert [row[1:] for row in found.rows] == table[1]
    assert not found.remarks


@settings(max_examples=200, deadline=None)
@given(table=tables(LINES), **HOW)
def test_fields_with_line_breaks_come_back_or_are_refused(tmp_path_factory, table, **how):
    path = written(tmp_path_factory.mktemp("t") / "m.csv", table, **how)
    try:
        assert [row[1:] for row in read_text_table(path).rows] == table[1]
    except InputError as error:
        assert "a quote opens that closes in line" in str(error)  # noqa: PT017
        assert any("\n" in word for row in table[1] for word in row)


@settings(max_examples=200, deadline=None)
@given(
    whole=st.lists(st.integers(-(2**53), 2**53), min_size=2, max_size=9),
    real=st.lists(st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x != 0), min_size=2, max_size=9),
    delimiter=HOW["delimiter"],
)
def test_numbers_come_back_as_numbers(tmp_path_factory, whole, real, delimiter):
    n = min(len(whole), len(real))
    rows = [[str(whole[i]), repr(real[i]), str(whole[i]) if i else "NA"] for i in range(n)]
    frame = read_metadata(written(tmp_path_factory.mktemp("t") / "m.csv", (["w", "r", "g"], rows), delimiter=delimiter))
    assert frame["w"].dtype == np.int64
    assert list(frame["w"]) == whole[:n]
    assert list(frame["r"]) == real[:n]
    assert np.isnan(frame["g"].iloc[0])
    assert list(frame["g"].iloc[1:]) == whole[1:n]


ODD = {
    "separators at all ends": ("bc,ct,\nc1,T,\nc2,B,\n", [["c1", "T"], ["c2", "B"]]),
    "separators at the ends of rows": ("bc,ct\nc1,T,\nc2,B,\n", [["c1", "T"], ["c2", "B"]]),
    "separators at some ends": ("bc,ct\nc1,T,,\nc2,B\n", [["c1", "T"], ["c2", "B"]]),
    "comments": ("# made, by x\n#\nbc,ct\nc1,T\n# middle\nc2,B\n", [["c1", "T"], ["c2", "B"]]),
    "a header that is a comment": ("#bc\tct\nc1\tT\nc2\tB\n", [["c1", "T"], ["c2", "B"]]),
    "byte order mark and line ends of Windows": ("\ufeffbc;ct\r\nc1;T\r\nc2;B\r\n", [["c1", "T"], ["c2", "B"]]),
    "line ends of old": ("bc,ct\rc1,T\rc2,B\r", [["c1", "T"], ["c2", "B"]]),
    "as R writes it": ("ct\tn\nc1\tT\t1\nc2\tB\t2\n", [["c1", "T", "1"], ["c2", "B", "2"]]),
    "as R writes it by default": ('"ct" "n"\n"c1" "T cell" 1\n"c2" "B" 2\n', [["c1", "T cell", "1"], ["c2", "B", "2"]]),
    "rows of nothing": ("bc,ct\n\nc1,T\n,\nc2,B\n\n", [["c1", "T"], ["c2", "B"]]),
    "commas in a header of tabs": ("bc\ttype (a, b, or, c)\nc1\tT\nc2\tB\n", [["c1", "T"], ["c2", "B"]]),
    "commas in every line of tabs": ("bc\ta,b\nc1\tx,y\nc2\tx,z\n", [["c1", "x,y"], ["c2", "x,z"]]),
    "semicolons in every line of commas": ("bc,a;b\nc1,x;y\nc2,x;z\n", [["c1", "x;y"], ["c2", "x;z"]]),
    "decimal commas": ("bc;x\nc1;1,5\nc2;2,5\n", [["c1", "1,5"], ["c2", "2,5"]]),
    "inches": ('bc,ct\nc1,5" tall\nc2,6"\n', [["c1", '5" tall'], ["c2", '6"']]),
    "a quote that does not close": ('bc,ct\nc1,"T\nc2,B\n', [["c1", '"T'], ["c2", "B"]]),
    "inches in quotes": ('"bc","ct"\n"c1","5" tall"\n"c2","B"\n', [["c1", '5" tall'], ["c2", "B"]]),
    "columns set apart by several blanks": ("bc   ct\nc1     T\nlong   B\n", [["c1", "T"], ["long", "B"]]),
    "a line for spreadsheets": ("sep=;\r\nbc;ct\r\nc1;T\r\nc2;B\r\n", [["c1", "T"], ["c2", "B"]]),
    "a line break in quotes": ('bc,ct\nc1,"two\nlines"\nc2,B\n', [["c1", "two\nlines"], ["c2", "B"]]),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_tables_are_read_right(tmp_path, name):
    text, rows = ODD[name]
    (tmp_path / "m.csv").write_bytes(text.encode())
    assert read_text_table(tmp_path / "m.csv").rows == rows


REFUSED = {
    "two stray quotes": ('bc,ct,n\nc1,"T,1\nc2,B,2\nc3,C",3\n', "line 2: a quote opens that closes in line 4 only"),
    "two stray quotes in two rows": ('bc,ct,n\nc1,"T,1\nc2,B",2\n', "line 2: a quote opens that closes in line 3 only"),
    "text behind a quote": (
        'bc,ct\nc1,"a,b" cells\nc2,B\n',
        "line 2 has 3 fields, the other rows have 2, separated by",
    ),
    "a short line": ("bc,ct,n\nc1,T,1\nc2,B\nc3,T,2\n", "line 3 has 2 fields, the other rows have 3"),
    "two separators": ("bc\tct\nc1,T\nc2,B\n", "the header is separated by tabs, the rows by commas"),
    "an end that is not clear": ("type,x\nc1,T,\nc2,B,\n", "every row ends with a separator, the header does not"),
    "NUL": ("bc,ct\nc1,T\0\n", "line 2 holds a NUL byte"),
    "one column": ("bc\nc1\n", "the header has one field only"),
    "two columns of one name": ("bc,ct,ct\nc1,T,B\n", "2 columns are called 'ct': give them different names"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_known_is_refused_in_one_line(tmp_path, name):
    text, said = REFUSED[name]
    (tmp_path / "m.csv").write_bytes(text.encode())
    with pytest.raises(InputError) as error:
        read_text_table(tmp_path / "m.csv")
    assert str(error.value).startswith(f"{tmp_path / 'm.csv'}: {said}")


NAMES = [
    "NA",
    "None",
    "nan",
    "null",
    "N/A",
    "-",
    "001",
    "1E3",
    "2e10",
    "+5",
    "1_000",
    "inf",
    "Infinity",
    "0x10",
    "01.5",
]


@pytest.mark.parametrize("name", [*NAMES, "9007199254740993", "2024-01-01", "12:30", "1,000", "5 "])
def test_a_name_stays_what_was_written(tmp_path, name):
    other = "5.0" if name == "5 " else "x" if name in NAMES[:6] else "1000"
    with (tmp_path / "m.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["bc", "n"], ["c1", name], ["c2", other]])
    assert list(read_metadata(tmp_path / "m.csv")["n"]) == [name, other]


def test_what_is_missing_is_said_with_its_count(tmp_path, caplog):
    (tmp_path / "m.csv").write_text(
        "bc,n,word,truth,real,none,gap\nc1,1,NA,TRUE,1.5,,\nc2,NA,x,NA,-,,x\nc3,,x,FALSE,1e-05,,y\n"
    )
    with caplog.at_level(logging.INFO):
        frame = read_metadata(tmp_path / "m.csv")
    said = "taken as missing: 1 'NA', 1 empty in 'n'; 1 'NA' in 'truth'; 1 '-' in 'real'; 3 empty in 'none'; 1 empty in"
    assert said in caplog.text
    assert "kept as names: 'NA' in 'word' (1 rows)" in caplog.text
    assert list(frame["n"].isna()) == [False, True, True]
    assert list(frame["word"]) == ["NA", "x", "x"]
    assert list(frame["truth"].astype(object).fillna("?")) == ["True", "?", "False"]
    assert frame["real"].iloc[[0, 2]].tolist() == [1.5, 1e-05]
    assert frame["none"].isna().all()
    assert list(frame["gap"].isna()) == [True, False, False]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_packed_or_not_whatever_its_name(tmp_path, name):
    for content in (b"bc,ct\nc1,T\n", gzip.compress(b"bc,ct\nc1,T\n")):
        (tmp_path / name).write_bytes(content)
        assert read_text_table(tmp_path / name).rows == [["c1", "T"]]


def test_truth_values_stay_truth_values(tmp_path):
    (tmp_path / "m.csv").write_text("bc,a,b,c\nc1,TRUE,true,True\nc2,FALSE,false,TRUE\n")
    frame = read_metadata(tmp_path / "m.csv")
    assert frame["a"].dtype == frame["b"].dtype == bool
    assert list(frame["a"]) == list(frame["b"]) == [True, False]
    assert list(frame["c"]) == ["True", "TRUE"]


def test_zero_below_and_above_is_one_number(tmp_path):
    (tmp_path / "m.csv").write_text("bc,score,n,name\nc1,-0.0,-0,1.0\nc2,0.0,0,1\nc3,1.5,2,2\n")
    frame = read_metadata(tmp_path / "m.csv")
    assert list(frame["score"]) == [0.0, 0.0, 1.5]
    assert list(frame["n"]) == [0, 0, 2]
    assert list(frame["name"]) == ["1.0", "1", "2"]


def test_names_that_differ_in_blanks_only_are_said(tmp_path, caplog):
    (tmp_path / "m.csv").write_text("bc,t,n\nc1,T cell,1\nc2,T cell ,2\nc3,B, 3\n")
    frame = read_metadata(tmp_path / "m.csv")
    assert list(frame["t"]) == ["T cell", "T cell ", "B"]
    assert "names in 't' differ in blanks at their ends only, such as 'T cell'" in caplog.text


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_gene_programs_with_any_end_of_line_packed_or_not(tmp_path, end, pack):
    (tmp_path / "p.gmt").write_bytes(pack(f"A\tx\tPCNA\tMCM5{end}B\tx\tTP53{end}".encode()))
    assert read_gmt(tmp_path / "p.gmt").to_numpy().tolist() == [["A", "PCNA"], ["A", "MCM5"], ["B", "TP53"]]


def test_a_damaged_list_of_genes_is_one_line(tmp_path):
    packed = bytearray(gzip.compress(b"gene,phase\nPCNA,S\n" * 500))
    packed[40:42] = bytes(byte ^ 255 for byte in packed[40:42])
    (tmp_path / "g.csv").write_bytes(packed)
    with pytest.raises(InputError, match="cannot be read as a table"):
        cycle_genes(path=tmp_path / "g.csv")


@pytest.mark.parametrize(("separator", "expected"), [(";", "f"), ("\t", "O"), (",", "O")])
def test_decimal_commas_are_known_where_semicolons_separate(tmp_path, separator, expected):
    """Elsewhere a comma may be anything, such as a list of two clones."""
    from sclatent.io import read_metadata

    rows = [("bc", "age", "ids"), ("a", '"0,5"', '"01,5"'), ("b", '"1"', '"1,10"'), ("c", '"NA"', '"1,1"')]
    (tmp_path / "m.csv").write_text("".join(separator.join(row) + "\n" for row in rows))
    table = read_metadata(tmp_path / "m.csv")
    assert table["age"].dtype.kind == expected
    if expected == "f":
        assert list(table["age"].iloc[:2]) == [0.5, 1.0]
        assert np.isnan(table["age"].iloc[2])
    assert list(table["ids"]) == ["01,5", "1,10", "1,1"]
