"""Drawn cells before and after their counts: what was drawn, and the AnnData that says where it comes from."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import sclatent
from sclatent.data import slots
from sclatent.data.modalities import RNA, slot
from sclatent.data.modalities.peaks import CHROM, END, START, coordinates

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


def likelihood_of(name: str) -> str:
    """Return the key of `SAMPLE` under which the likelihood of a modality beside RNA is."""
    return f"likelihood_{name}"


@dataclass
class Drawn:
    """What is drawn before the counts.

    ``z`` (n × axes), ``library`` (n,) by modality, ``codes`` and ``values`` (n × columns).
    """

    z: Array
    library: dict[str, Array]
    codes: npt.NDArray[np.int64]
    values: Array


def _obs(card: dict[str, Any], drawn: Drawn) -> pd.DataFrame:
    import pandas as pd

    obs = pd.DataFrame(index=pd.Index([f"drawn_{k + 1}" for k in range(len(drawn.z))]))
    for column, (name, levels) in enumerate(zip(card["batch"], card["levels"], strict=True)):
        obs[name] = pd.Categorical.from_codes(drawn.codes[:, column], categories=levels)
    for column, name in enumerate(card["covariates"]):
        obs[name] = drawn.values[:, column] * card["scale"][column] + card["centre"][column]
    obs[slots.LIBRARY_SIZE] = drawn.library[RNA]
    for name, sizes in drawn.library.items():
        if name != RNA:
            obs[slots.library_size_of(name)] = sizes
    if len(drawn.library) > 1:
        obs[slots.MEASURED] = pd.Categorical(["+".join(drawn.library)] * len(obs))
    return obs


def _features(about: dict[str, Any]) -> pd.DataFrame:
    """Return the features of a modality beside RNA, with where they are on the genome if their names say so."""
    import pandas as pd

    found = coordinates(about["features"])
    if found[CHROM].isna().any():
        found = pd.DataFrame(index=pd.Index(about["features"]))
    else:
        found = found.astype({START: np.int64, END: np.int64})
    found[slots.IN_MODEL] = True
    return found


def annotated(
    trained: TrainedModel,
    drawn: Drawn,
    counts: dict[str, csr_matrix],
    density: Density | None,
    asked_for: dict[str, Any],
) -> AnnData:
    """Return the cells, counts by modality, with what they are, and where they come from."""
    import anndata as ad
    import pandas as pd

    card = trained.card
    further = card.get("modalities", {})
    where = "prior" if density is None or asked_for["prior"] else "density of the cells"
    about: dict[str, Any] = {
        "what": "cells drawn from a model, not measured",
        "model": card["model"],
        "model_seed": int(card["seed"]),
        "likelihood": trained.vae.settings.likelihood.kind,
        "latent": trained.vae.settings.latent.kind,
        "where": where,
        "not_drawn": ("genes and peaks" if further else "genes")
        + " that the model does not hold"
        + (", the rest of the library size" if card["rest"] else ""),
        "versions": {**card["versions"], "sclatent_sample": sclatent.__version__},
    }
    about |= {likelihood_of(name): one["likelihood"] for name, one in further.items()}
    about |= {key: value for key, value in asked_for.items() if value is not None and value != {}}
    if density is not None:
        about["components"] = int(density.about["components"])
        about["cells"] = int(density.about["cells"])
    result = ad.AnnData(
        counts[RNA],
        obs=_obs(card, drawn),
        var=pd.DataFrame(index=pd.Index([str(gene) for gene in card["genes"]])),
        obsm={slots.X_LATENT: drawn.z.astype(np.float32), **{name: counts[name] for name in further}},
    )
    result.uns[slots.UNS] = {SAMPLE: about, **slot({name: _features(one) for name, one in further.items()})}
    log.info("%d cells drawn from the %s of %s, seed %s", len(drawn.z), where, card["model"], card["seed"])
    return result
