import _src
from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    figures = sl.pl.axes(
        sl.io.read_h5ad(job.of_selected_seed("latents")),
        bridge.read_table(job.of_selected_seed("axes")),
        map=sl.io.read_h5ad(job.input.map),
        traversals=sl.io.read_h5ad(job.input.traversals),
        stability=bridge.read_table(job.input.stability),
    )
    sl.pl.save(figures, job.output.figures)
