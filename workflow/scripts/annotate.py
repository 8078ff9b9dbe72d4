import _src
from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    prepared, cycle, latent = (sl.io.read_h5ad(job.input[name]) for name in ("prepared", "cycle", "latent"))
    sl.io.write_table(sl.tl.annotate(prepared, cycle, latent, job.settings), job.output.axes)
