from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    counts, latent = bridge.read_h5ad(job.input.counts), bridge.read_h5ad(job.input.latent, names_only=True)
    trained = sl.tl.TrainedModel.load(job.folder)
    sl.io.write_json(sl.tl.evaluate(counts, trained, latent=latent), job.output.metrics)
