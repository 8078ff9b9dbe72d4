"""Quality control, gene selection, split."""

from sclatent._lazy import attach

__getattr__, __all__ = attach(
    __name__,
    {
        "check_columns": "_check",
        "check_given": "_check",
        "check_programs": "_check",
        "auto_min_genes": "_quality",
        "highly_variable": "_variable",
        "is_mitochondrial": "_families",
        "is_ribosomal": "_families",
        "model_counts": "_model_counts",
        "prepare": "_prepare",
        "qc_metrics": "_quality",
        "random_split": "_split",
        "score_doublets": "_quality",
    },
)
