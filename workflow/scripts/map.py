from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    latent = bridge.read_h5ad(job.input.latent, without=("layers",))
    sl.io.write_h5ad(sl.tl.map(latent, **job.parts(sl.tl.map)), job.output.map)
