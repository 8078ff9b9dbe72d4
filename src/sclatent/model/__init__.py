"""The variational autoencoder on counts: arrays and tensors only, no AnnData."""

from sclatent._lazy import attach

__getattr__, __all__ = attach(
    __name__,
    {
        "Batch": "batches",
        "CountData": "batches",
        "CountSource": "source",
        "CountVAE": "vae",
        "DECODERS": "parts.modality",
        "Decoder": "decoders",
        "LATENTS": "parts.latent",
        "LIKELIHOODS": "parts.likelihoods",
        "Latent": "parts.latent",
        "Likelihood": "parts.likelihoods",
        "Loss": "objective",
        "OBJECTIVES": "objective",
        "Objective": "objective",
        "Posterior": "parts.latent",
        "Rows": "source",
        "log_rate": "parts.log_likelihoods",
        "refit_vae": "training",
        "train_vae": "training",
    },
)
