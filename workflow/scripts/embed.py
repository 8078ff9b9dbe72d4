from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    prepared = bridge.read_h5ad(job.input.counts)
    trained = sl.tl.TrainedModel.load(job.folder)
    sl.io.write_h5ad(sl.tl.embed(prepared, trained), job.output.latent)
