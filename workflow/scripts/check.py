from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    counts = bridge.read_h5ad(job.input.counts, names_only=True)  # it runs where Snakemake runs, often a login node
    sl.pp.check_programs(counts, **job.parts(sl.pp.check_programs))
    columns = sl.pp.check_columns(counts, **job.parts(sl.pp.check_columns))
    sl.io.write_table(columns, job.output.columns)
