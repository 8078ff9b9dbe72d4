# From prepared counts to trained models, latent axes and their names.


rule train:
    input:
        counts="results/{dataset}/model_counts.h5ad",
        cycle=cycle_of_circle,
    output:
        weights=ensure(
            "results/{dataset}/{model}/seed-{seed}/model.safetensors", non_empty=True
        ),
        card=ensure("results/{dataset}/{model}/seed-{seed}/model.json", non_empty=True),
        history=ensure(
            "results/{dataset}/{model}/seed-{seed}/history.tsv", non_empty=True
        ),
    log:
        "logs/{dataset}/{model}/seed-{seed}/train.log",
    benchmark:
        "benchmarks/{dataset}/{model}/seed-{seed}/train.tsv"
    retries: RETRIES
    conda:
        "../../envs/training.yaml"
    threads: threads_of_training
    resources:
        fixed_threads=threads_of_training,
        # the libraries of CUDA take memory of the machine, too
        mem_mb=memory(4000, 3, devices),
        runtime=minutes(120, 0.5),
    params:
        settings=section(
            "modalities",
            "batch",
            "condition",
            "covariates",
            "library_size",
            model=True,
        ),
        version=VERSIONS["train"],
    message:
        "{wildcards.dataset}: training {wildcards.model}, seed {wildcards.seed}"
    script:
        "../scripts/train.py"


# what a profile asks for (`set-resources: {train: {gpu: 1}}`) is for each device of a model
if "gpu" in (rules.train.rule.resources or {}):
    rules.train.rule.resources["gpu"] = for_each(
        rules.train.rule.resources["gpu"], devices
    )


rule embed:
    input:
        counts="results/{dataset}/model_counts.h5ad",
        weights="results/{dataset}/{model}/seed-{seed}/model.safetensors",
        card="results/{dataset}/{model}/seed-{seed}/model.json",
        history="results/{dataset}/{model}/seed-{seed}/history.tsv",
    output:
        latent=ensure(
            "results/{dataset}/{model}/seed-{seed}/latent.h5ad", non_empty=True
        ),
    log:
        "logs/{dataset}/{model}/seed-{seed}/embed.log",
    benchmark:
        "benchmarks/{dataset}/{model}/seed-{seed}/embed.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(900, 1.7),
        runtime=minutes(20, 0.1),
    params:
        version=VERSIONS["embed"],
    message:
        "{wildcards.dataset}: embedding the cells with {wildcards.model}, seed {wildcards.seed}"
    script:
        "../scripts/embed.py"


rule evaluate:
    input:
        counts="results/{dataset}/model_counts.h5ad",
        weights="results/{dataset}/{model}/seed-{seed}/model.safetensors",
        card="results/{dataset}/{model}/seed-{seed}/model.json",
        history="results/{dataset}/{model}/seed-{seed}/history.tsv",
        latent="results/{dataset}/{model}/seed-{seed}/latent.h5ad",
    output:
        metrics=ensure(
            "results/{dataset}/{model}/seed-{seed}/metrics.json", non_empty=True
        ),
    log:
        "logs/{dataset}/{model}/seed-{seed}/evaluate.log",
    benchmark:
        "benchmarks/{dataset}/{model}/seed-{seed}/evaluate.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(1000, 1.2),
        runtime=minutes(15, 0.2),
    params:
        version=VERSIONS["evaluate"],
    message:
        "{wildcards.dataset}: judging {wildcards.model}, seed {wildcards.seed}, on held-out cells"
    script:
        "../scripts/evaluate.py"


rule annotate:
    input:
        prepared="results/{dataset}/prepared.h5ad",
        cycle="results/{dataset}/cycle.h5ad",
        latent="results/{dataset}/{model}/seed-{seed}/latent.h5ad",
        columns="results/{dataset}/columns.tsv",
        programs=file_of_user(lambda settings: settings.axes.programs),
    output:
        axes=ensure("results/{dataset}/{model}/seed-{seed}/axes.tsv", non_empty=True),
    log:
        "logs/{dataset}/{model}/seed-{seed}/annotate.log",
    benchmark:
        "benchmarks/{dataset}/{model}/seed-{seed}/annotate.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(600, 0.25),
        runtime=minutes(15, 0.1),
    params:
        settings=section("batch", "condition", "covariates", "labels", "axes"),
        version=VERSIONS["annotate"],
    message:
        "{wildcards.dataset}: naming the axes of {wildcards.model}, seed {wildcards.seed}"
    script:
        "../scripts/annotate.py"


checkpoint select:
    input:
        metrics=per_seed("results/{dataset}/{model}/seed-{seed}/metrics.json"),
        latents=per_seed("results/{dataset}/{model}/seed-{seed}/latent.h5ad"),
        axes=per_seed("results/{dataset}/{model}/seed-{seed}/axes.tsv"),
    output:
        selected=ensure("results/{dataset}/{model}/selected.json", non_empty=True),
        stability=ensure("results/{dataset}/{model}/stability.tsv", non_empty=True),
    log:
        "logs/{dataset}/{model}/select.log",
    benchmark:
        "benchmarks/{dataset}/{model}/select.tsv"
    retries: RETRIES
    localrule: True
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(400, 1.3),
        runtime=minutes(10),
    params:
        version=VERSIONS["select"],
    message:
        "{wildcards.dataset}: selecting the seed of {wildcards.model} on validation cells, matching axes across seeds"
    script:
        "../scripts/select.py"


rule map:
    input:
        latent=selected("results/{dataset}/{model}/seed-{seed}/latent.h5ad"),
    output:
        map=ensure("results/{dataset}/{model}/map.h5ad", non_empty=True),
    log:
        "logs/{dataset}/{model}/map.log",
    benchmark:
        "benchmarks/{dataset}/{model}/map.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(900, 3),
        runtime=minutes(15, 0.5),
    params:
        settings=section("map"),
        version=VERSIONS["map"],
    message:
        "{wildcards.dataset}: neighbours, clusters and UMAP of {wildcards.model}"
    script:
        "../scripts/map.py"


rule gradients:
    input:
        counts="results/{dataset}/model_counts.h5ad",
        weights=selected("results/{dataset}/{model}/seed-{seed}/model.safetensors"),
        card=selected("results/{dataset}/{model}/seed-{seed}/model.json"),
        history=selected("results/{dataset}/{model}/seed-{seed}/history.tsv"),
    output:
        variance=ensure("results/{dataset}/{model}/gradients.tsv", non_empty=True),
        noise=ensure("results/{dataset}/{model}/gradient_noise.tsv", non_empty=True),
    log:
        "logs/{dataset}/{model}/gradients.log",
    benchmark:
        "benchmarks/{dataset}/{model}/gradients.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(4000, 20),
        runtime=minutes(30, 0.1),
    params:
        version=VERSIONS["gradients"],
    message:
        "{wildcards.dataset}: measuring the noise of the gradients of {wildcards.model}"
    script:
        "../scripts/gradients.py"
