"""Expose the student's errors, let it refine the teacher's trace beside them, check the result."""


rule expose:
    input:
        samples=of_exposed("samples.parquet"),
        verdicts=of_exposed("verdicts.parquet"),
        # empty for arms that show no sham, and for the steps no attempt that is cut at its error
        problems=if_among(SHAM, "results/datasets/{dataset}/problems.parquet"),
        steps=lambda wildcards: (
            [of_exposed("steps.parquet")(wildcards)]
            if wildcards.arm in READING_STEPS
            else []
        ),
        surprisal=if_among(
            EXPOSING_BY_SURPRISAL,
            "results/datasets/{dataset}/{model}/sample_surprisal.parquet",
        ),
    output:
        "results/datasets/{dataset}/{model}/{arm}/errors.parquet",
    log:
        "logs/datasets/{dataset}/{model}/{arm}/errors.log",
    benchmark:
        "logs/datasets/{dataset}/{model}/{arm}/errors.usage.tsv"
    wildcard_constraints:
        arm=any_of(NEEDING_ERRORS),
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        config=tracked_config("expose"),
        code=source_digest("orion.stages.expose"),
    shell:
        "python -m orion.stages.expose --config {params.config:q} --samples {input.samples}"
        " --verdicts {input.verdicts} --problems {input.problems} --steps {input.steps}"
        " --surprisal {input.surprisal} --output {output} 2> {log}"


rule reflect:
    input:
        problems=problems_with_traces,
        trace_verdicts="results/datasets/{dataset}/trace_verdicts.parquet",
        trace_steps="results/datasets/{dataset}/trace_steps.parquet",
        errors="results/datasets/{dataset}/{model}/{arm}/errors.parquet",
        model=of_writer("model.json"),
        preflight=of_writer("preflight.json"),
    output:
        "results/datasets/{dataset}/{model}/{arm}/reflections.parquet",
    log:
        "logs/datasets/{dataset}/{model}/{arm}/reflections.log",
    benchmark:
        "logs/datasets/{dataset}/{model}/{arm}/reflections.usage.tsv"
    wildcard_constraints:
        arm=any_of(REFLECTING),
    conda:
        environment(*(CONFIG.arm_block("reflect", arm).engine for arm in REFLECTING))
    resources:
        **generation_by(writer),
        batch_size=128,
    params:
        config=tracked_config("reflect"),
        code=source_digest("orion.stages.reflect"),
    shell:
        "{resources.python} -m orion.stages.reflect --config {params.config:q}"
        " --problems {input.problems} --trace-verdicts {input.trace_verdicts}"
        " --trace-steps {input.trace_steps}"
        " --errors {input.errors} --model {input.model} --preflight {input.preflight}"
        " --completions {resources.completions}"
        " --batch-size {resources.batch_size} --shards {resources.shards}"
        " --tensor-parallel-size {resources.tensor_parallel_size}"
        " --token-budget {resources.token_budget} --base-url={resources.base_url:q}"
        " --api-key-env={resources.api_key_env:q} --headers={resources.headers:q}"
        " --query={resources.query:q} --ceiling={resources.ceiling:q}"
        " --gpu-memory-percent {resources.gpu_memory_percent}"
        " --batch-invariant {resources.batch_invariant} --output {output} 2> {log}"


use rule check as check_reflections with:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
        samples="results/datasets/{dataset}/{model}/{arm}/reflections.parquet",
    output:
        verdicts="results/datasets/{dataset}/{model}/{arm}/reflection_verdicts.parquet",
        steps="results/datasets/{dataset}/{model}/{arm}/reflection_steps.parquet",
    log:
        "logs/datasets/{dataset}/{model}/{arm}/reflection_verdicts.log",
    benchmark:
        "logs/datasets/{dataset}/{model}/{arm}/reflection_verdicts.usage.tsv"
    wildcard_constraints:
        arm=any_of(REFLECTING),
    params:
        config=tracked_config("check_reflections"),
        code=source_digest("orion.stages.check"),


# how unexpected each text is to the student that will be trained; only where an arm chooses by it
rule sample_surprisal:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
        texts="results/datasets/{dataset}/{model}/samples.parquet",
        model="results/models/{model}/model.json",
        preflight="results/models/{model}/preflight.json",
    output:
        "results/datasets/{dataset}/{model}/sample_surprisal.parquet",
    log:
        "logs/datasets/{dataset}/{model}/sample_surprisal.log",
    benchmark:
        "logs/datasets/{dataset}/{model}/sample_surprisal.usage.tsv"
    conda:
        "../../envs/base.yaml"
    resources:
        runtime="2h",
        mem_mb=4000,
    params:
        config=tracked_config("sample_surprisal"),
        code=source_digest("orion.stages.surprisal"),
    shell:
        "python -m orion.stages.surprisal --config {params.config:q}"
        " --problems {input.problems} --texts {input.texts} --model {input.model}"
        " --preflight {input.preflight} --output {output} 2> {log}"


use rule sample_surprisal as reflection_surprisal with:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
        texts="results/datasets/{dataset}/{model}/{arm}/reflections.parquet",
        model="results/models/{model}/model.json",
        preflight="results/models/{model}/preflight.json",
    output:
        "results/datasets/{dataset}/{model}/{arm}/reflection_surprisal.parquet",
    log:
        "logs/datasets/{dataset}/{model}/{arm}/reflection_surprisal.log",
    benchmark:
        "logs/datasets/{dataset}/{model}/{arm}/reflection_surprisal.usage.tsv"
    wildcard_constraints:
        arm=any_of(SELECTING_REFLECTIONS_BY_SURPRISAL),
    params:
        config=tracked_config("reflection_surprisal"),
        code=source_digest("orion.stages.surprisal"),
