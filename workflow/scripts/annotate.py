from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    prepared = bridge.read_h5ad(job.input.prepared, names_only=True)
    cycle, latent = bridge.read_h5ad(job.input.cycle), bridge.read_h5ad(job.input.latent)
    sl.io.write_table(sl.tl.annotate(prepared, cycle, latent, **job.parts(sl.tl.annotate)), job.output.axes)
