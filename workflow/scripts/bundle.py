from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    mdata = sl.atlas.build_mudata(
        sl.io.read_h5ad(job.input.atlas),
        sl.io.read_h5ad(job.input.prepared),
        sl.io.read_h5ad(job.input.latent),
        sl.io.read_h5ad(job.input.map),
    )
    sl.io.write_h5mu(mdata, job.output.atlas)
