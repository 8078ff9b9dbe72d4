"""Readers for every count format, downloads with checksum, and writers that leave nothing half-written."""

from sclatent._lazy import attach

__getattr__, __all__ = attach(
    __name__,
    {
        "atomic": "_write",
        "fetch": "_download",
        "read_counts": "_read",
        "read_dataset": "_dataset",
        "read_h5ad": "_stored",
        "read_metadata": "_metadata",
        "write_h5ad": "_write",
        "write_h5mu": "_mudata",
        "write_json": "_write",
        "write_table": "_write",
    },
)
