"""Names of the AnnData slots that stage files share: one place to look up what a column means.

Only strings live here, so that any room may import it without loading anything.
"""

UNS = "sclatent"
"""The one key of ``uns`` the package writes to; everything else in ``uns`` belongs to scanpy."""

# --- uns["sclatent"] of the stage files -------------------------------------------------------------------------------
UNS_READ = "read"
"""``counts.h5ad``: how the counts were read (format, orientation, layer, one entry per sample)."""
UNS_FILTERS = "filters"
"""``prepared.h5ad``: a DataFrame, one row per filter: filter, cutoff, unit, taken, left."""
UNS_QC = "qc"
"""``prepared.h5ad``: a DataFrame of the QC metrics of all cells that were read, with a column ``passed``."""
UNS_GENES = "genes"
"""``prepared.h5ad``: how the model's genes were chosen."""
UNS_PREPARED = "prepared"
"""``prepared.h5ad``: what ``library_size`` is a sum of, and under `RENAMED` where columns that came in are now."""
RENAMED = "renamed"
UNS_MODALITIES = "modalities"
"""With several modalities: the features of each beside RNA, a DataFrame by its name (`sclatent.data.modalities`)."""
MEASURED = "measured"
"""In ``obs``, with several modalities: in which of them a cell was measured, such as ``rna+atac``."""

# --- layers -----------------------------------------------------------------------------------------------------------
COUNTS = "counts"
SD = "sd"

# --- obs: names of cells ----------------------------------------------------------------------------------------------
SAMPLE = "sample"
SPLIT = "split"
TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
LIBRARY_SIZE = "library_size"
LEIDEN = "leiden"
INPUT_SUFFIX = "_input"
"""Appended to a column that came in under a name the pipeline writes itself."""

# --- obs: quality control (scanpy's names) ----------------------------------------------------------------------------
N_GENES = "n_genes_by_counts"
TOTAL_COUNTS = "total_counts"
PCT_MITO = "pct_counts_mt"
PCT_RIBO = "pct_counts_ribo"
PCT_SPIKE_IN = "pct_counts_spike_in"
DOUBLET_SCORE = "doublet_score"
PREDICTED_DOUBLET = "predicted_doublet"
N_PEAKS = "n_peaks"
"""With open chromatin: peaks that are open, of those that stay."""

# --- obs: cell cycle --------------------------------------------------------------------------------------------------
S_SCORE = "S_score"
G2M_SCORE = "G2M_score"
PHASE = "phase"
PHASES = ("G1", "S", "G2M")
CYCLE_ANGLE = "cycle_angle"
CYCLE_SD = "cycle_sd"
CYCLING_PROBABILITY = "cycling_probability"
CYCLING = "cycling"

# --- obs: what the pipeline writes ------------------------------------------------------------------------------------
OF_PREPARE = (
    N_GENES,
    TOTAL_COUNTS,
    PCT_MITO,
    PCT_RIBO,
    PCT_SPIKE_IN,
    DOUBLET_SCORE,
    PREDICTED_DOUBLET,
    SPLIT,
    LIBRARY_SIZE,
)
STATE = "state"
OF_CYCLE = (S_SCORE, G2M_SCORE, PHASE, CYCLE_ANGLE, CYCLE_SD, CYCLING_PROBABILITY, CYCLING)
WRITTEN = (*OF_PREPARE, *OF_CYCLE, LEIDEN, STATE)
"""Columns that the pipeline computes: one that comes in under such a name is `{name}_input` from `prepare` on."""

# --- var --------------------------------------------------------------------------------------------------------------
SYMBOL = "symbol"
"""The gene symbol used for matching gene lists."""
IN_MODEL = "in_model"
HIGHLY_VARIABLE = "highly_variable"
CYCLE_GENE = "cycle_gene"
KEPT = "kept"
MITO = "mt"
RIBO = "ribo"
SPIKE_IN = "spike_in"
N_CELLS = "n_cells_by_counts"

# --- obsm, varm -------------------------------------------------------------------------------------------------------
X_LATENT = "X_sclatent"
X_LATENT_SD = "X_sclatent_sd"
STATE_PROBABILITY = "state_probability"
LATENT = "latent"
"""In ``uns`` of ``latent.h5ad``: the kind of latent, if it is not the diagonal Gaussian."""
ANGLE = "angle"
"""In ``var`` of ``latent.h5ad``, where there is a circle: whether the axis is an angle (radians, within ± π)."""
X_NEUTRAL = "X_sclatent_neutral"
X_UMAP = "X_umap"
PHASE_PROBABILITY = "phase_probability"
"""P(G1), P(S), P(G2M) of every cell."""
LOADINGS = "sclatent_loadings"


def latent_of(modality: str) -> str:
    """In ``obsm`` of ``latent.h5ad``: posterior means of what one modality alone tells."""
    return f"mean_{modality}"


def latent_sd_of(modality: str) -> str:
    """In ``obsm`` of ``latent.h5ad``: the SDs of `latent_of`."""
    return f"sd_{modality}"


def library_size_of(modality: str) -> str:
    """In ``obs`` of ``samples.h5ad``: the library size that a cell was drawn with, of a modality beside RNA."""
    return f"{LIBRARY_SIZE}_{modality}"


def loadings_of(modality: str) -> str:
    """In ``varm`` of ``latent.h5ad``: axes × features of a modality beside RNA."""
    return f"loadings_{modality}"


def features_of(modality: str) -> str:
    """In ``uns`` of ``latent.h5ad`` and ``traversals.h5ad``: names of these features."""
    return f"features_{modality}"


# --- the simulator's truth --------------------------------------------------------------------------------------------
CELL_TYPE = "cell_type"
BATCH = "batch"
TRUE_ANGLE = "true_angle"
TRUE_PHASE = "true_phase"
TRUE_CYCLING = "true_cycling"
TRUE_LIBRARY = "true_library"
TRUE_S = "true_S"
TRUE_G2M = "true_G2M"
ON_LIST = "on_list"
LIST_PHASE = "list_phase"
TRUE_PEAK = "true_peak"
TRUE_AMPLITUDE = "true_amplitude"
SIM_BASE = "simulated_base"
SIM_BATCH = "simulated_batch"
