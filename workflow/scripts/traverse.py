import _src
from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    traversals = sl.tl.traverse(
        sl.io.read_h5ad(job.input.counts),
        sl.io.read_h5ad(job.input.cycle),
        sl.io.read_h5ad(job.of_selected_seed("latents")),
        sl.tl.TrainedModel.load(job.of_selected_seed("weights").parent),
        job.settings,
        knob=sl.io.read_h5ad(job.input.knob),
    )
    sl.io.write_h5ad(traversals, job.output.traversals)
