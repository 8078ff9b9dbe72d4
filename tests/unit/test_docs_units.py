"""Docstrings of public names say what arrays and tables look like, the unit of a number, and the source of a method."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from numpydoc.docscrape import NumpyDocString
from test_docs_api import FUNCTIONS, PUBLIC, api_pages

ARRAY = re.compile(r"ndarray|NDArray|ArrayLike|\bArray\b|\bTensor\b|csr_matrix|spmatrix")
TABLE = re.compile(r"\b(AnnData|MuData|DataFrame|Series)\b")
NUMBER = re.compile(r"\bfloat\b")

SHAPE = re.compile(
    r"×"  # cells × genes
    r"|\((?:len\(\w+\)|\w+)(?: \+ 1)?, ?\)"  # (cells,)
    r"|\(\w+, \w+\)"  # (cells, genes)
    r"|\bscalar\b|\bany shape\b"
)
LAYOUT = re.compile(
    r"×|\b[Rr]ows? per\b|\bindex\b"
    r"|``(?:X|obs|var|obsm|uns)\b"
    r"|``\w+\.(?:h5ad|h5mu|tsv)``"
    r"|`[\w.]+` return(?:s|ed)\b|\b[Ff]rom `sclatent\.|\bOutput of `"
    r"|\bcolumns ``"
)
UNIT = re.compile(
    r"\bunits?\b|\b0 to 1\b|\[0, 1\]|\b(?:share|fraction|probability|percent)\b|\bnats\b|\blog\b|\bradians\b"
    r"|\bcounts?\b|\b(?:seconds|minutes|hours|mega|giga)|\bdispersion\b",
    re.IGNORECASE,
)
METHOD = re.compile(
    r"Benjamini|Kolmogorov|AUROC|entropy|[Mm]utual information|(?<!`)[Mm]ixture|importance"
    r"|doublet|Pearson residual|[Vv]arimax|\bUMAP\b|[Ll]eiden|\bELBO\b|\bPIT\b|[Ee]vidence lower bound|\bLMS\b|LISI"
)
"""Methods of others that a docstring may name."""
SOURCE = re.compile(r"\b(?:19|20)\d\d\b|\bdoi\b|scanpy|scikit-learn|scipy|[Ss]crublet")
METHOD_ROOMS = ("data", "pp", "model", "tl")
"""Rooms that compute. The figures of `pl` and the settings name what these rooms say the source of."""
NO_SOURCE = {
    "tl.compare": "names columns that `tl.annotate` and `tl.mixing` compute",
}
"""Names that mention a method and leave its source to another docstring, and why."""


class Said(NamedTuple):
    """What a docstring says of one parameter, field or result."""

    what: str
    annotation: str
    text: str


def said_of(function: Callable[..., Any]) -> Iterator[Said]:
    """Yield every parameter and the result of a function."""
    doc = NumpyDocString(inspect.getdoc(function) or "")
    text = {name.strip().lstrip("*"): entry.desc for entry in doc["Parameters"] for name in entry.name.split(",")}
    signature = inspect.signature(function)
    for name, parameter in signature.parameters.items():
        yield Said(name, str(parameter.annotation), " ".join(text.get(name, [])))
    entries = doc["Returns"] + doc["Yields"]
    told = " ".join(" ".join([entry.name, entry.type, *entry.desc]) for entry in entries)
    yield Said("what is returned", str(signature.return_annotation), told)


def said_of_fields(cls: type) -> Iterator[Said]:
    """Yield every annotated field of a class; where no section names it, the summary of the class may."""
    doc = NumpyDocString(inspect.getdoc(cls) or "")
    entries = doc["Parameters"] + doc["Attributes"]
    text = {name.strip(): " ".join(entry.desc) for entry in entries for name in entry.name.split(",")}
    prose = " ".join(doc["Summary"] + doc["Extended Summary"])
    for name, annotation in vars(cls).get("__annotations__", {}).items():
        if not name.startswith("_"):
            yield Said(name, str(annotation), text.get(name) or _about(name, prose))


def _about(name: str, prose: str) -> str:
    """Return the clause of `prose` that names a field."""
    return " ".join(part for part in re.split(r"[.;](?=\s|$)", prose) if f"``{name}``" in part)


def lacks(said: Said) -> list[str]:
    """What is missing in what a docstring says."""
    wanted = [("shape", ARRAY, SHAPE), ("layout", TABLE, LAYOUT), ("unit", NUMBER, UNIT)]
    return [
        f"{said.what}: no {name}"
        for name, kind, pattern in wanted
        if kind.search(said.annotation) and not pattern.search(said.text)
    ]


def without_source(key: str, doc: str) -> bool:
    """Whether a docstring names a method of others and not its source."""
    return key.split(".")[0] in METHOD_ROOMS and bool(METHOD.search(doc)) and not SOURCE.search(doc)


CLASSES = {key: value for key, value in PUBLIC.items() if inspect.isclass(value) and not api_pages.fields(value)}
CALLED = {**{key: value for key, value in PUBLIC.items() if inspect.isroutine(value)}, **CLASSES, **FUNCTIONS}


@pytest.mark.parametrize("key", FUNCTIONS)
def test_arrays_have_a_shape_tables_a_layout_and_numbers_a_unit(key):
    assert [line for said in said_of(FUNCTIONS[key]) for line in lacks(said)] == []


@pytest.mark.parametrize("key", CLASSES)
def test_fields_of_a_class_have_them_too(key):
    assert [line for said in said_of_fields(CLASSES[key]) for line in lacks(said)] == []


@pytest.mark.parametrize("key", [key for key in CALLED if key not in NO_SOURCE])
def test_a_method_of_others_has_its_source(key):
    assert not without_source(key, inspect.getdoc(CALLED[key]) or "")


@pytest.mark.parametrize("key", NO_SOURCE)
def test_no_exception_is_left_over(key):
    assert without_source(key, inspect.getdoc(CALLED[key]) or "")


@pytest.mark.parametrize(
    ("annotation", "text", "expected"),
    [
        ("np.ndarray", "Posterior means.", ["a: no shape"]),
        ("np.ndarray | None", "Posterior means (cells × axes).", []),
        ("np.ndarray", "(cells,) radians.", []),
        ("pd.DataFrame", "The table.", ["a: no layout"]),
        ("pd.DataFrame", "One row per gene.", []),
        ("ad.AnnData", "What `sclatent.tl.embed` returns.", []),
        ("float", "How far.", ["a: no unit"]),
        ("float", "How far, in latent units.", []),
        ("int", "How many.", []),
    ],
)
def test_what_is_missing_is_found(annotation, text, expected):
    assert lacks(Said("a", annotation, text)) == expected


def test_a_field_is_looked_for_in_its_clause():
    class Pair:
        """Two arrays: ``a`` (cells,) of this. ``b`` of that."""

        a: np.ndarray  # noqa: F821
        b: np.ndarray  # noqa: F821

    assert [line for said in said_of_fields(Pair) for line in lacks(said)] == ["b: no shape"]


@pytest.mark.parametrize(
    ("doc", "expected"), [("By UMAP.", True), ("By UMAP (McInnes et al. 2018).", False), ("By counting.", False)]
)
def test_a_missing_source_is_found(doc, expected):
    assert without_source("tl.some", doc) is expected
    assert without_source("pl.some", doc) is False
