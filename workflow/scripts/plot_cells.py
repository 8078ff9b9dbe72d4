from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    prepared, cycle = sl.io.read_h5ad(job.input.prepared), sl.io.read_h5ad(job.input.cycle)
    sl.pl.save(sl.pl.qc(prepared), job.output.qc)
    sl.pl.save(sl.pl.cycle(prepared, cycle), job.output.cycle)
