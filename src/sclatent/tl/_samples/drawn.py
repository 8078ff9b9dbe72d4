"""Drawn cells before and after their counts: what was drawn, and the AnnData that says where it comes from."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import sclatent
from sclatent.data import slots

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    from sclatent.tl._model.train import TrainedModel
    from sclatent.tl._samples.density import Density

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]

SAMPLE = "sample_of_model"
"""Key under ``uns["sclatent"]``: where drawn cells come from."""


@dataclass
class Drawn:
    """What is drawn before the counts: ``z`` (n × axes), ``library`` (n,), ``codes`` and ``values`` (n × columns)."""

    z: Array
    library: Array
    codes: npt.NDArray[np.int64]
    values: Array


def _obs(card: dict[str, Any], drawn: Drawn) -> pd.DataFrame:
    import pandas as pd

    obs = pd.DataFrame(index=pd.Index([f"drawn_{k + 1}" for k in range(len(drawn.z))]))
    for column, (name, levels) in enumerate(zip(card["batch"], card["levels"], strict=True)):
        obs[name] = pd.Categorical.from_codes(drawn.codes[:, column], categories=levels)
    for column, name in enumerate(card["covariates"]):
        obs[name] = drawn.values[:, column] * card["scale"][column] + card["centre"][column]
    obs[slots.LIBRARY_SIZE] = drawn.library
    return obs


def annotated(
    trained: TrainedModel, drawn: Drawn, counts: csr_matrix, density: Density | None, asked_for: dict[str, Any]
) -> AnnData:
    """Return the cells with what they are, and where they come from."""
    import anndata as ad
    import pandas as pd

    card = trained.card
    where = "prior" if density is None or asked_for["prior"] else "density of the cells"
    about: dict[str, Any] = {
        "what": "cells drawn from a model, not measured",
        "model": card["model"],
        "model_seed": int(card["seed"]),
        "likelihood": trained.vae.settings.likelihood.kind,
        "latent": trained.vae.settings.latent.kind,
        "where": where,
        "not_drawn": "genes that the model does not hold" + (", the rest of the library size" if card["rest"] else ""),
        "versions": {**card["versions"], "sclatent_sample": sclatent.__version__},
    }
    if np.ndim(asked_for["library"]):
        asked_for = asked_for | {"library": "one for each cell"}
    about |= {key: value for key, value in asked_for.items() if value is not None and value != {}}
    if density is not None:
        about["components"] = int(density.about["components"])
        about["cells"] = int(density.about["cells"])
    result = ad.AnnData(
        counts,
        obs=_obs(card, drawn),
        var=pd.DataFrame(index=pd.Index([str(gene) for gene in card["genes"]])),
        obsm={slots.X_LATENT: drawn.z.astype(np.float32)},
    )
    result.uns[slots.UNS] = {SAMPLE: about}
    log.info("%d cells drawn from the %s of %s, seed %s", len(drawn.z), where, card["model"], card["seed"])
    return result
