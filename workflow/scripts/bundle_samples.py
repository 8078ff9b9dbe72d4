from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    sl.io.write_h5mu(sl.atlas.to_mudata(sl.io.read_h5ad(job.input.samples)), job.output.samples)
