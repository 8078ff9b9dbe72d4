from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    prepared, cycle = bridge.read_h5ad(job.input.prepared), bridge.read_h5ad(job.input.cycle)
    sl.pl.save(sl.pl.qc(prepared), job.output.qc)
    sl.pl.save(sl.pl.cycle(prepared, cycle), job.output.cycle)
