"""What a public function is handed, looked at before it begins: one line instead of an error from deep inside."""

from __future__ import annotations

import functools
import inspect
import numbers
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, TypeVar

from sclatent.settings.errors import InputError, did_you_mean

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class _Kind:
    """A type that an annotation may name: what messages call it, how it is known, and what reads one from a file.

    Of a mapping `values` are the types of its values, empty if any will do.
    """

    called: str
    fits: Callable[[Any], bool]
    reader: str = ""
    values: tuple[_Kind, ...] = ()


def _instance(name: str) -> Callable[[Any], bool]:
    # by its name, so that nothing is imported that the value did not bring along
    return lambda value: any(base.__name__ == name for base in type(value).__mro__)


def _is_number(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind) and not isinstance(value, bool)


_ANNDATA = _Kind("an AnnData", _instance("AnnData"), "sl.io.read_h5ad({path})")
_MAPPING = _Kind("a mapping", lambda value: isinstance(value, Mapping))
_KINDS = {
    "AnnData": _ANNDATA,
    "MuData": _Kind("a MuData", _instance("MuData")),
    # what a model is asked for, so that one of another making will do
    "TrainedModel": _Kind(
        "a TrainedModel",
        lambda value: hasattr(value, "card") and hasattr(value, "vae"),
        "sl.tl.TrainedModel.load({path})",
    ),
    "Density": _Kind("a Density", _instance("Density"), "sl.tl.Density.load({path})"),
    "DataFrame": _Kind("a DataFrame", _instance("DataFrame"), 'pandas.read_csv({path}, sep="\\t")'),
    "Mapping": _MAPPING,
    "dict": _MAPPING,
    "int": _Kind("a whole number", _is_number(numbers.Integral)),
    "float": _Kind("a number", _is_number(numbers.Real)),
    "bool": _Kind("True or False", lambda value: type(value).__name__ in ("bool", "bool_")),
    "str": _Kind("text", lambda value: isinstance(value, str)),
    "Path": _Kind("a path", lambda value: isinstance(value, str | os.PathLike)),
    "None": _Kind("None", lambda value: value is None),
}


def _is_knob(cells: Any) -> bool:
    return "knob" in cells.uns.get("sclatent", {})


def _is_cycle(cells: Any) -> bool:
    return bool({"cycle_angle", "S_score"} & {*cells.obs}) and not _is_knob(cells)


_ROLES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    # positions of cells may also come from elsewhere: an array of them, where the other stages return none
    "latent": (
        "sl.tl.embed",
        lambda cells: bool({"kl", "active"} & {*cells.var}) or type(cells.X).__name__ == "ndarray",
    ),
    **dict.fromkeys(("cycle", "phases"), ("sl.tl.cycle", _is_cycle)),
    "map": ("sl.tl.map", lambda cells: "X_umap" in cells.obsm),
    "traversals": ("sl.tl.traverse", lambda steps: "path" in steps.obs),
    **dict.fromkeys(("knob", "path"), ("sl.tl.knob, the second part,", _is_knob)),
    "atlas": ("sl.atlas.build", lambda cells: {"X_sclatent", "X_umap"} <= {*cells.obsm}),
}
"""What makes the AnnData that a parameter of this name holds, and what it is known by."""


def checks_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Make a public function look at what it is handed, by its annotations and by the names of its parameters.

    An annotation is checked if all of its types are known here. An AnnData for a parameter called ``latent``,
    ``cycle``, ``map`` and the like must hold what the stage of that name returns. `takes_settings` does this too.

    Parameters
    ----------
    function
        A function of ``sl.pp``, ``sl.tl``, ``sl.pl``, ``sl.atlas`` or ``sl.io``.

    Returns
    -------
    callable
        The same function.

    Raises
    ------
    InputError
        When it is called: one line that names the function, the parameter, what was found and what was expected.
    TypeError
        When it is called with an argument that it does not have, or without one that it needs.
    """
    arguments = Arguments(function)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        arguments.look_at(arguments.bind(*args, **kwargs))
        return function(*args, **kwargs)

    checked.checks_arguments = True  # type: ignore[attr-defined]
    return checked


class Arguments:
    """What a function expects of the arguments of a call.

    Parameters
    ----------
    function
        Any function with annotations.
    without
        Parameters that something else looks at.
    hint
        Says of a keyword that the function does not have where it belongs; an empty string if nowhere.
    """

    def __init__(
        self, function: Callable[..., Any], *, without: Collection[str] = (), hint: Callable[[str], str] = str
    ) -> None:
        self.function, self.hint = function, hint
        self.signature = inspect.signature(function)
        kinds = {name: _kinds(parameter.annotation) for name, parameter in self.signature.parameters.items()}
        self.wanted = {name: known for name, known in kinds.items() if known and name not in without}

    def bind(self, *args: Any, **kwargs: Any) -> inspect.BoundArguments:
        """Return the arguments of a call by name, or say how the function is called."""
        try:
            return self.signature.bind(*args, **kwargs)
        except TypeError as error:
            known = self.signature.parameters
            odd = next((name for name in kwargs if name not in known), None)
            advice = "" if odd is None else self.hint(odd) or did_you_mean(odd, known)
            called = _shape(self.function, whole=not advice)
            raise TypeError(f"{_name(self.function)}: {error}{advice}: the call is {called}") from None

    def look_at(self, call: inspect.BoundArguments) -> None:
        """Stop at the first argument that is not of a type of its annotation, or not what its name says."""
        for name, known in self.wanted.items():
            if name in call.arguments:
                others = [value for other, value in call.arguments.items() if other != name]
                _check(self.function, name, call.arguments[name], known, others)


def _kinds(annotation: Any) -> tuple[_Kind, ...]:
    """Return the types that an annotation names; none if there is one among them that is not known here."""
    found = []
    for word in _apart(annotation, "|") if isinstance(annotation, str) else ():
        outer, _, inner = word.removesuffix("]").partition("[")
        kind = _KINDS.get(outer.rpartition(".")[2])
        if kind is None:
            return ()
        found.append(replace(kind, values=_kinds(_apart(inner, ",")[-1])) if kind is _MAPPING and inner else kind)
    return tuple(found)


def _apart(annotation: str, by: str) -> list[str]:
    """Return the parts of an annotation between signs that stand in no bracket."""
    parts, depth = [""], 0
    for sign in annotation:
        depth += (sign == "[") - (sign == "]")
        if sign == by and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]


def _check(
    function: Callable[..., Any], name: str, value: Any, known: Collection[_Kind], others: Collection[Any] = ()
) -> None:
    where = f"{_name(function)}: {name}"
    fitting = next((kind for kind in known if kind.fits(value)), None)
    if fitting is None:
        expected = " or ".join(dict.fromkeys(kind.called for kind in known))
        raise InputError(
            f"{where}: expected {expected}, found {_found(value)}: {_advice(function, value, known, others)}"
        )
    if fitting.values:
        for key, part in value.items():
            _check(function, f"{name}[{key!r}]", part, fitting.values)
    maker, fits = _ROLES.get(name, ("", None))
    if fits is not None and fitting is _ANNDATA and not fits(value):
        raise InputError(
            f"{where}: expected what {maker} returns, found another AnnData ({' × '.join(map(str, value.shape))}): "
            f"the call is {_shape(function)}"
        )
    if name == "seed" and isinstance(value, numbers.Integral) and not 0 <= int(value) < 2**32:
        raise InputError(f"{where}: expected a whole number from 0 to {2**32 - 1}, found {value}")


def _found(value: Any) -> str:
    """Say what was handed over, in a few words."""
    if isinstance(value, str | os.PathLike):
        return f"the text '{os.fspath(value)}'"
    if isinstance(value, tuple):
        return f"{len(value)} results at once ({', '.join(type(part).__name__ for part in value)})"
    if value is None or isinstance(value, bool | numbers.Number):
        return f"{value}"
    if callable(value) and hasattr(value, "__name__"):
        return f"{value.__name__} itself, not what it returns"
    kind = type(value).__name__
    shape = getattr(value, "shape", None)
    of = f" of {' × '.join(map(str, shape))}" if isinstance(shape, tuple) and shape else ""
    return f"{'an' if kind[:1] in 'AEIOUaeiou' else 'a'} {kind}{of}"


def _advice(function: Callable[..., Any], value: Any, known: Collection[_Kind], others: Collection[Any]) -> str:
    reader = next((kind for kind in known if kind.reader), None)
    # where another argument is what is missing here, the two were swapped
    if reader is not None and isinstance(value, str | os.PathLike) and not any(map(reader.fits, others)):
        return f"read the file first: {reader.reader.format(path=repr(os.fspath(value)))}"
    if isinstance(value, tuple):
        return "take them apart, and give the one that is meant"
    if _ANNDATA in known and _KINDS["MuData"].fits(value):
        return "give one of its modalities, such as mdata.mod['rna']"
    return f"the call is {_shape(function)}"


def _name(function: Callable[..., Any]) -> str:
    return function.__qualname__.rpartition("<locals>.")[2]


def _shape(function: Callable[..., Any], *, whole: bool = False) -> str:
    """Return how a function is called; with `whole` also the keywords that may be left out, by name."""
    places: list[str] = []
    keywords: list[str] = []
    optional: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        needed = parameter.default is parameter.empty
        if parameter.kind is not parameter.KEYWORD_ONLY:
            places.append(name if needed else f"{name}=…")
        else:
            (keywords if needed else optional).append(f"{name}=…")
    rest = optional if whole else ["…"] * bool(optional)
    shown = [name for name in (*places, *keywords, *rest) if name != "cls"]
    return f"{_name(function)}({', '.join(shown)})"
