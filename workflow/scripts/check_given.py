from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    prepared = bridge.read_h5ad(job.input.counts, names_only=True)  # it runs where Snakemake runs, often a login node
    sl.io.write_table(sl.pp.check_given(prepared, **job.parts(sl.pp.check_given)), job.output.given)
