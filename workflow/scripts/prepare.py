from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    prepared = sl.pp.prepare(bridge.read_h5ad(job.input.counts), **job.parts(sl.pp.prepare))
    sl.io.write_h5ad(prepared, job.output.prepared)
    sl.io.write_h5ad(sl.pp.model_counts(prepared), job.output.model_counts)
