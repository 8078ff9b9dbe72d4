"""A model as files: weights as safetensors, everything else as JSON; no pickle."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sclatent.model.parts.modality import Further
from sclatent.settings import InputError, ModelSettings, first_line

if TYPE_CHECKING:
    from sclatent.model.vae import CountVAE

WEIGHTS, CARD = "model.safetensors", "model.json"
FORMAT, READ = 2, (1, 2)
"""The format that is written, and those that are read: in format 1 the options of a kind were keys of the model."""


def _in_file(name: str) -> str:
    """Return the name in the file of a parameter of the model."""
    return name.removeprefix("modality.").removeprefix("likelihood.")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a path beside `path`, which takes its place when the block ends well; else nothing is left of it."""
    half = path.with_name(path.name + ".part")
    try:
        yield half
        half.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            half.unlink(missing_ok=True)
        raise


def save_model(vae: CountVAE, folder: Path, extra: dict[str, Any]) -> None:
    """Write both files beside their names, then rename them, the card last."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {_in_file(name): value.detach().cpu().contiguous() for name, value in vae.state_dict().items()}
    card = {"format": FORMAT, "architecture": vae.architecture(), **extra}
    with whole(folder / WEIGHTS) as half:
        save_file(tensors, half)
    with whole(folder / CARD) as half:
        half.write_text(json.dumps(card, indent=1, allow_nan=False) + "\n")


def load_model(cls: type[CountVAE], folder: Path) -> tuple[CountVAE, dict[str, Any]]:
    """Return the model and its card.

    Parameters
    ----------
    cls
        `CountVAE`, or a subclass of it.
    folder
        A folder with ``model.safetensors`` and ``model.json``.

    Returns
    -------
    tuple
        The model on the CPU, and what ``model.json`` holds.

    Raises
    ------
    InputError
        A file is missing, damaged, or of another version.
    """
    path = folder / CARD
    try:
        card = json.loads(path.read_text())
        architecture = card["architecture"]
        version = card["format"]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: is {folder} the folder of a trained model?") from None
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError):
        raise InputError(f"{path}: not the card of a sclatent model: train the model again") from None
    if version not in READ:
        known = ", ".join(map(str, READ))
        raise InputError(f"{path}: model format {version}, this version reads {known}: train the model again")
    try:
        settings = ModelSettings.model_validate(architecture["settings"])
    except ValidationError as error:  # of a kind that is not registered here, or of another version
        raise InputError(f"{path}: {first_line(error, ModelSettings)}") from None
    vae = cls(
        architecture["n_genes"],
        settings,
        n_levels=tuple(architecture["n_levels"]),
        n_continuous=architecture["n_continuous"],
        rest=architecture["rest"],
        further={
            name: Further.from_description(described) for name, described in architecture.get("further", {}).items()
        },
    )
    weights = folder / WEIGHTS
    try:
        names = {_in_file(name): name for name in vae.state_dict()}
        vae.load_state_dict({names.get(name, name): value for name, value in load_file(weights).items()})
    except FileNotFoundError:
        raise InputError(f"{weights}: no such file: train the model again") from None
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"{weights}: does not fit its card ({error}): train the model again") from None
    return vae.eval(), card
