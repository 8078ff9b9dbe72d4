"""The variational autoencoder on counts: arrays and tensors only, no AnnData.

Other rooms import from here, not from the modules below.
"""

from typing import TYPE_CHECKING

from sclatent._lazy import attach

__getattr__, __all__ = attach(
    __name__,
    {
        "ACTIVE_VARIANCE": "rotation",
        "Axes": "parts.posterior",
        "Batch": "batch",
        "Batches": "data",
        "CountData": "data",
        "CountSource": "source",
        "MappedCounts": "csr",
        "CountVAE": "vae",
        "DECODERS": "parts.modality",
        "Decoder": "parts.decoders",
        "Diverged": "training.diagnose",
        "Further": "parts.modality",
        "LATENTS": "parts.latents",
        "LIKELIHOODS": "parts.likelihoods",
        "Latent": "parts.latent",
        "Likelihood": "parts.likelihood",
        "Loss": "objective",
        "OBJECTIVES": "objectives",
        "Objective": "objective",
        "Posterior": "parts.posterior",
        "Rows": "source",
        "early_model": "training.trainer",
        "load_model": "saving",
        "log_rate": "parts.log_likelihoods",
        "only": "batch",
        "refined": "refine",
        "refit_epochs": "training.schedule",
        "refit_vae": "training.trainer",
        "rotate_axes": "rotation",
        "train_vae": "training.trainer",
    },
)

if TYPE_CHECKING:
    from sclatent.model.batch import Batch as Batch
    from sclatent.model.batch import only as only
    from sclatent.model.csr import MappedCounts as MappedCounts
    from sclatent.model.data import Batches as Batches
    from sclatent.model.data import CountData as CountData
    from sclatent.model.objective import Loss as Loss
    from sclatent.model.objective import Objective as Objective
    from sclatent.model.objectives import OBJECTIVES as OBJECTIVES
    from sclatent.model.parts.decoders import Decoder as Decoder
    from sclatent.model.parts.latent import Latent as Latent
    from sclatent.model.parts.latents import LATENTS as LATENTS
    from sclatent.model.parts.likelihood import Likelihood as Likelihood
    from sclatent.model.parts.likelihoods import LIKELIHOODS as LIKELIHOODS
    from sclatent.model.parts.log_likelihoods import log_rate as log_rate
    from sclatent.model.parts.modality import DECODERS as DECODERS
    from sclatent.model.parts.modality import Further as Further
    from sclatent.model.parts.posterior import Axes as Axes
    from sclatent.model.parts.posterior import Posterior as Posterior
    from sclatent.model.refine import refined as refined
    from sclatent.model.rotation import ACTIVE_VARIANCE as ACTIVE_VARIANCE
    from sclatent.model.rotation import rotate_axes as rotate_axes
    from sclatent.model.saving import load_model as load_model
    from sclatent.model.source import CountSource as CountSource
    from sclatent.model.source import Rows as Rows
    from sclatent.model.training.diagnose import Diverged as Diverged
    from sclatent.model.training.schedule import refit_epochs as refit_epochs
    from sclatent.model.training.trainer import early_model as early_model
    from sclatent.model.training.trainer import refit_vae as refit_vae
    from sclatent.model.training.trainer import train_vae as train_vae
    from sclatent.model.vae import CountVAE as CountVAE
