# What the user takes away: the atlas, the page, the comparison of models.


rule export:
    input:
        prepared="results/{dataset}/prepared.h5ad",
        cycle="results/{dataset}/cycle.h5ad",
        stability="results/{dataset}/{model}/stability.tsv",
        latent=selected("results/{dataset}/{model}/seed-{seed}/latent.h5ad"),
        card=selected("results/{dataset}/{model}/seed-{seed}/model.json"),
        metrics=selected("results/{dataset}/{model}/seed-{seed}/metrics.json"),
        axes=selected("results/{dataset}/{model}/seed-{seed}/axes.tsv"),
        map="results/{dataset}/{model}/map.h5ad",
        knob="results/{dataset}/{model}/knob.h5ad",
    output:
        atlas=ensure("results/{dataset}/{model}/atlas.h5ad", non_empty=True),
    log:
        "logs/{dataset}/{model}/export.log",
    benchmark:
        "benchmarks/{dataset}/{model}/export.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(900, 0.2),
        runtime=minutes(15, 0.1),
    params:
        settings=section("batch", "condition", "labels"),
        file=section(),  # the whole dataset file, since the atlas keeps it
        version=VERSIONS["export"],
    message:
        "{wildcards.dataset}: joining the atlas of {wildcards.model}"
    script:
        "../scripts/export.py"


rule bundle:
    input:
        atlas="results/{dataset}/{model}/atlas.h5ad",
        prepared="results/{dataset}/prepared.h5ad",
        latent=selected("results/{dataset}/{model}/seed-{seed}/latent.h5ad"),
        map="results/{dataset}/{model}/map.h5ad",
    output:
        atlas=ensure("results/{dataset}/{model}/atlas.h5mu", non_empty=True),
    log:
        "logs/{dataset}/{model}/bundle.log",
    benchmark:
        "benchmarks/{dataset}/{model}/bundle.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(3000, 30),
        runtime=minutes(30, 0.1),
    params:
        version=VERSIONS["bundle"],
    message:
        "{wildcards.dataset}: joining the modalities of {wildcards.model}"
    script:
        "../scripts/bundle.py"


rule page:
    input:
        atlas="results/{dataset}/{model}/atlas.h5ad",
        traversals="results/{dataset}/{model}/traversals.h5ad",
        verdict="results/{dataset}/{model}/knob.json",
    output:
        page=report(
            ensure("results/{dataset}/{model}/knob.html", non_empty=True),
            caption="../report/page.rst",
            category="6 Cell-cycle knob",
            labels={
                "dataset": "{dataset}",
                "model": "{model}",
                "figure": "page to turn the knob",
            },
        ),
    log:
        "logs/{dataset}/{model}/page.log",
    benchmark:
        "benchmarks/{dataset}/{model}/page.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(450, 0.09),
        runtime=minutes(20, 0.05),
    params:
        version=VERSIONS["page"],
    message:
        "{wildcards.dataset}: writing the page of {wildcards.model}"
    script:
        "../scripts/page.py"


rule compare:
    input:
        metrics=per_model_and_seed("results/{dataset}/{model}/seed-{seed}/metrics.json"),
        axes=per_model_and_seed("results/{dataset}/{model}/seed-{seed}/axes.tsv"),
        latents=per_model_and_seed("results/{dataset}/{model}/seed-{seed}/latent.h5ad"),
        selected=per_model("results/{dataset}/{model}/selected.json"),
        prepared="results/{dataset}/prepared.h5ad",
    output:
        models=report(
            ensure("results/{dataset}/models.tsv", non_empty=True),
            caption="../report/models.rst",
            category="3 Models",
            labels={"dataset": "{dataset}", "figure": "table"},
        ),
    log:
        "logs/{dataset}/compare.log",
    benchmark:
        "benchmarks/{dataset}/compare.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(500, 0.14),
        runtime=minutes(20, 0.1),
    params:
        settings=section("batch", "labels"),
        version=VERSIONS["compare"],
    message:
        "{wildcards.dataset}: comparing models and seeds"
    script:
        "../scripts/compare.py"
