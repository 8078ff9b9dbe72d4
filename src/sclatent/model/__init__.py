"""The variational autoencoder on counts: arrays and tensors only, no AnnData."""

from sclatent._lazy import attach

__getattr__, __all__ = attach(
    __name__,
    {
        "CountData": "batches",
        "CountVAE": "vae",
        "train_vae": "training",
    },
)
