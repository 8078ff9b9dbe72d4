"""What several rooms share: gene lists and symbol matching, names of AnnData slots, the simulator, the demo."""

from sclatent.data.demo import DEMOS, demo, pbmc68k, write_demo
from sclatent.data.gene_ids import clean_names, look_like_ids
from sclatent.data.genes import cycle_genes, match_genes, peak_order, symbol_column
from sclatent.data.simulate import oracle_log_fraction, simulate

# the modules `demo` and `simulate` share their names with functions: these imports make the functions the attributes
__all__ = [
    "DEMOS",
    "clean_names",
    "cycle_genes",
    "demo",
    "look_like_ids",
    "match_genes",
    "oracle_log_fraction",
    "pbmc68k",
    "peak_order",
    "simulate",
    "symbol_column",
    "write_demo",
]
