import _src
from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    figures = sl.pl.knob(
        bridge.read_json(job.input.verdict),
        sl.io.read_h5ad(job.input.traversals),
        path=sl.io.read_h5ad(job.input.knob),
        map=sl.io.read_h5ad(job.input.map),
        latent=sl.io.read_h5ad(job.of_selected_seed("latents")),
        cycle=sl.io.read_h5ad(job.input.cycle),
    )
    sl.pl.save(figures, job.output.figures)
