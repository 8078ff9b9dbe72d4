# From the selected model to paths through its latent space.


rule knob:
    input:
        prepared="results/{dataset}/prepared.h5ad",
        cycle="results/{dataset}/cycle.h5ad",
        latent=selected("results/{dataset}/{model}/seed-{seed}/latent.h5ad"),
        weights=selected("results/{dataset}/{model}/seed-{seed}/model.safetensors"),
    output:
        verdict=ensure("results/{dataset}/{model}/knob.json", non_empty=True),
        knob=ensure("results/{dataset}/{model}/knob.h5ad", non_empty=True),
    log:
        "logs/{dataset}/{model}/knob.log",
    benchmark:
        "benchmarks/{dataset}/{model}/knob.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(1500, 0.6),
        runtime=minutes(15, 0.2),
    params:
        settings=section("organism", "batch", "labels", "library_size", "cycle"),
        version=VERSIONS["knob"],
    message:
        "{wildcards.dataset}: fitting the cell-cycle knob of {wildcards.model}"
    script:
        "../scripts/knob.py"


rule traverse:
    input:
        counts="results/{dataset}/model_counts.h5ad",
        cycle="results/{dataset}/cycle.h5ad",
        latent=selected("results/{dataset}/{model}/seed-{seed}/latent.h5ad"),
        weights=selected("results/{dataset}/{model}/seed-{seed}/model.safetensors"),
        knob="results/{dataset}/{model}/knob.h5ad",
    output:
        traversals=ensure("results/{dataset}/{model}/traversals.h5ad", non_empty=True),
    log:
        "logs/{dataset}/{model}/traverse.log",
    benchmark:
        "benchmarks/{dataset}/{model}/traverse.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(800, 0.7),
        runtime=minutes(15, 0.2),
    params:
        settings=section("traverse"),
        version=VERSIONS["traverse"],
    message:
        "{wildcards.dataset}: decoding along every axis of {wildcards.model}"
    script:
        "../scripts/traverse.py"
