# From the user's files to cells, genes and the phase of every cell.


rule demo_counts:
    output:
        counts=ensure("demo/{name}.h5ad", non_empty=True),
    log:
        "logs/demo_counts/{name}.log",
    benchmark:
        "benchmarks/demo_counts/{name}.tsv"
    wildcard_constraints:
        name="demo|pbmc68k",
    retries: RETRIES
    localrule: True
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(1000, 0),
        runtime=minutes(10),
    params:
        version=VERSIONS["demo_counts"],
    message:
        "{wildcards.name}: writing the counts of the demo"
    script:
        "../scripts/demo_counts.py"


rule read:
    input:
        files=counts_of_user,
        made=counts_made,
        metadata=file_of_user(lambda settings: settings.metadata),
    output:
        counts=ensure("results/{dataset}/counts.h5ad", non_empty=True),
    log:
        "logs/{dataset}/read.log",
    benchmark:
        "benchmarks/{dataset}/read.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(560, 0.35),
        runtime=minutes(15, 0.05),
    params:
        settings=section("counts", "modalities", "join", "metadata"),
        version=VERSIONS["read"],
    message:
        "{wildcards.dataset}: reading the counts"
    script:
        "../scripts/read.py"


rule check:
    input:
        counts="results/{dataset}/counts.h5ad",
        programs=file_of_user(lambda settings: settings.axes.programs),
    output:
        columns=ensure("results/{dataset}/columns.tsv", non_empty=True),
    log:
        "logs/{dataset}/check.log",
    benchmark:
        "benchmarks/{dataset}/check.tsv"
    priority: 100
    retries: RETRIES
    localrule: True
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(300, 0.12),
        runtime=minutes(10),
    params:
        settings=section(
            "batch",
            "condition",
            "covariates",
            "labels",
            "library_size",
            "split",
            "genes",
            "axes",
            "sample.given",
        ),
        version=VERSIONS["check"],
    message:
        "{wildcards.dataset}: checking the columns and gene programs that the dataset file names"
    script:
        "../scripts/check.py"


rule prepare:
    input:
        counts="results/{dataset}/counts.h5ad",
        cycle_genes=file_of_user(lambda settings: settings.cycle.genes),
    output:
        prepared=ensure("results/{dataset}/prepared.h5ad", non_empty=True),
        model_counts=ensure("results/{dataset}/model_counts.h5ad", non_empty=True),
    log:
        "logs/{dataset}/prepare.log",
    benchmark:
        "benchmarks/{dataset}/prepare.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(1200, counts_at_once),
        runtime=minutes(15, 0.1),
    params:
        settings=section(
            "modalities",
            "organism",
            "batch",
            "condition",
            "covariates",
            "library_size",
            "split",
            "cells",
            "genes",
            "cycle",
        ),
        version=VERSIONS["prepare"],
    message:
        "{wildcards.dataset}: filtering cells and genes, splitting, choosing the genes of the model"
    script:
        "../scripts/prepare.py"


rule cycle:
    input:
        prepared="results/{dataset}/prepared.h5ad",
        cycle_genes=file_of_user(lambda settings: settings.cycle.genes),
    output:
        cycle=ensure("results/{dataset}/cycle.h5ad", non_empty=True),
    log:
        "logs/{dataset}/cycle.log",
    benchmark:
        "benchmarks/{dataset}/cycle.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(980, 0.6),
        runtime=minutes(15, 0.1),
    params:
        settings=section("organism", "batch", "library_size", "cycle"),
        version=VERSIONS["cycle"],
    message:
        "{wildcards.dataset}: finding the phase of every cell"
    script:
        "../scripts/cycle.py"


# A level that no training cell has is told while the models train: `train` does not wait for it, since it is not to run again
# when other levels are asked for.
rule check_given:
    input:
        counts="results/{dataset}/model_counts.h5ad",
    output:
        given=ensure("results/{dataset}/given.tsv", non_empty=True),
    log:
        "logs/{dataset}/check_given.log",
    benchmark:
        "benchmarks/{dataset}/check_given.tsv"
    priority: 100
    retries: RETRIES
    localrule: True
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(300, 0.12),
        runtime=minutes(10),
    params:
        settings=section("batch", "condition", "sample.given"),
        version=VERSIONS["check_given"],
    message:
        "{wildcards.dataset}: checking that training cells have the levels of the cells to draw"
    script:
        "../scripts/check_given.py"
