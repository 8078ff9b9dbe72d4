import _src
from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    counts = sl.io.read_h5ad(job.input.counts, names_only=True)  # it runs where Snakemake runs, often a login node
    sl.pp.check_programs(counts, job.settings)
    sl.io.write_table(sl.pp.check_columns(counts, job.settings), job.output.columns)
