import _src
from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    counts, prepared = sl.io.read_h5ad(job.input.counts), sl.io.read_h5ad(job.input.prepared)
    sl.pl.save(sl.pl.qc(counts, prepared), job.output.figures)
