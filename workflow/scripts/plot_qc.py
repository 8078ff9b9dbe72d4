import _src
from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    sl.pl.save(sl.pl.qc(sl.io.read_h5ad(job.input.prepared)), job.output.figures)
