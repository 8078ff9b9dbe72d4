from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    atlas = sl.atlas.build(
        bridge.read_h5ad(job.input.prepared),
        bridge.read_h5ad(job.input.cycle),
        bridge.read_h5ad(job.input.latent),
        bridge.read_h5ad(job.input.map),
        bridge.read_table(job.input.axes),
        name=job.name,
        config=job.params.file,
        **job.parts(sl.atlas.build),
        card=bridge.read_json(job.input.card)["trained"],
        metrics=bridge.read_json(job.input.metrics),
        knob=bridge.read_h5ad(job.input.knob),
        stability=bridge.read_table(job.input.stability),
    )
    sl.io.write_h5ad(atlas, job.output.atlas)
