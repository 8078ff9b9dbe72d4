from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    axes = bridge.read_table(job.input.axes)
    latent = bridge.read_h5ad(job.input.latent)
    map, traversals = bridge.read_h5ad(job.input.map, without=("obsp",)), bridge.read_h5ad(job.input.traversals)
    stability = bridge.read_table(job.input.stability)
    figures = sl.pl.axes(latent, axes, map=map, traversals=traversals, stability=stability)
    sl.pl.save(figures, job.output.axes)
    sl.pl.save(sl.pl.traversals(traversals, axes), job.output.traversals)
    verdict = bridge.read_json(job.input.verdict)
    path, cycle = bridge.read_h5ad(job.input.knob), bridge.read_h5ad(job.input.cycle)
    figures = sl.pl.knob(verdict, traversals, path=path, map=map, latent=latent, cycle=cycle)
    sl.pl.save(figures, job.output.knob)
