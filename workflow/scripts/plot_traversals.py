import _src
from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    traversals = sl.io.read_h5ad(job.input.traversals)
    axes = bridge.read_table(job.of_selected_seed("axes"))
    sl.pl.save(sl.pl.traversals(traversals, axes), job.output.figures)
