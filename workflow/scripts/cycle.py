from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    prepared = bridge.read_h5ad(job.input.prepared)
    sl.io.write_h5ad(sl.tl.cycle(prepared, **job.parts(sl.tl.cycle)), job.output.cycle)
