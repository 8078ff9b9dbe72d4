from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    trained = sl.tl.train(
        bridge.read_h5ad(job.input.counts),
        model=job.model,
        name=job.wildcards.model,
        seed=int(job.wildcards.seed),
        threads=job.threads,
        checkpoint=job.folder / "checkpoint.pt",  # undeclared: Snakemake deletes the outputs of a failed job
        progress=True,
        start=bridge.read_h5ad(job.input.cycle) if job.input.cycle else None,
        **job.parts(sl.tl.train),
    )
    trained.save(job.folder)
