"""A label is a set of categories, and a covariate numbers, whatever the column's type and gaps."""

import numpy as np
import pandas as pd
import pytest

from sclatent.data import slots
from sclatent.data.columns import add_column, as_categories, as_numbers, as_text, is_measured, same, set_aside

SAME = {
    "float64": pd.Series([0.0, 1, np.nan, 10, 2]),
    "float32": pd.Series([0.0, 1, np.nan, 10, 2], dtype="float32"),
    "Int64": pd.Series(pd.array([0, 1, None, 10, 2], dtype="Int64")),
    "Float64": pd.Series(pd.array([0, 1, None, 10, 2], dtype="Float64")),
    "text": pd.Series(["0", "1", None, "10", "2"]),
    "string": pd.Series(["0", "1", None, "10", "2"], dtype="string"),
    "categories of whole numbers": pd.Series(pd.Categorical([0, 1, None, 10, 2])),
    "categories of float64": pd.Series(pd.Categorical([0.0, 1, None, 10, 2])),
    "categories of text": pd.Series(["0", "1", None, "10", "2"], dtype="category"),
    "objects": pd.Series([0, 1, None, 10, 2], dtype=object),
}


@pytest.mark.parametrize("name", SAME)
def test_the_type_does_not_matter(name):
    column = SAME[name]
    found = as_categories(column)
    assert list(found.cat.categories) == ["0", "1", "2", "10"]
    assert list(found.cat.codes) == [0, 1, -1, 3, 2]
    assert not is_measured(column)
    numbers, odd = as_numbers(column)
    np.testing.assert_array_equal(numbers, [0, 1, np.nan, 10, 2])
    assert odd is None


def test_truth_values_are_categories():
    for column in (pd.Series([True, False, None]), pd.Series(pd.array([True, False, None], dtype="boolean"))):
        assert list(as_categories(column).cat.categories) == ["False", "True"]
        assert list(as_text(column)) == ["True", "False", None]
        assert as_numbers(column)[1] == "True"


def test_an_order_that_was_given_stays_and_unused_levels_go():
    sizes = pd.Series(pd.Categorical(["s", "l", "s"], categories=["s", "m", "l"], ordered=True))
    assert list(as_categories(sizes).cat.categories) == ["s", "l"]
    assert list(as_categories(pd.Series(pd.Categorical(["2", "1"], categories=["2", "1"]))).cat.categories) == [
        "2",
        "1",
    ]


def test_words_for_missing_are_names_in_categories():
    names = ["NA", "None", "nan", "", "001"]
    assert list(as_categories(pd.Series(names)).astype(object)) == names


def test_numbers_written_as_text():
    numbers, odd = as_numbers(pd.Series(["3.5", "NA", "007", " 1e-3"], dtype="category"))
    np.testing.assert_array_equal(numbers, [3.5, np.nan, 7, 1e-3])
    assert odd is None
    assert as_numbers(pd.Series(["3.5", "1,5"]))[1] == "1,5"
    assert as_numbers(pd.Series(["3.5", "inf"]))[1] == "inf"


def test_long_ids_keep_their_digits():
    ids = pd.Series([2**53 + 1, 2**53 + 2])
    assert list(as_text(ids)) == ["9007199254740993", "9007199254740994"]
    assert not same(ids, [2**53 + 1, 2**53 + 3])
    assert not same(pd.Series([1000001]), [1000002])
    assert same(pd.Series([0.1], dtype="float32"), [0.1])


def test_names_that_the_pipeline_writes_are_set_aside():
    assert set_aside(["phase", "donor", "leiden", "phase_input"]) == {
        "phase": "phase_input_2",
        "leiden": "leiden_input",
    }
    for name in slots.WRITTEN:
        assert set_aside([name]) == {name: f"{name}_input"}


def test_add_column_numbers_what_it_keeps():
    obs = pd.DataFrame({"n": ["a"], "n_input": ["b"]})
    add_column(obs, "n", ["c"], "x")
    assert obs.loc[0].to_dict() == {"n": "c", "n_input": "b", "n_input_2": "a"}
