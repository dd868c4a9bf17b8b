"""Expose the student's errors, let it refine the teacher's trace with them in view, and check what it wrote."""


rule expose:
    input:
        samples="results/{dataset}/{model}/samples.parquet",
        verdicts="results/{dataset}/{model}/verdicts.parquet",
    output:
        "results/{dataset}/{model}/{arm}/errors.parquet",
    log:
        "logs/{dataset}/{model}/{arm}/errors.log",
    benchmark:
        "logs/{dataset}/{model}/{arm}/errors.usage.tsv"
    wildcard_constraints:
        arm=one_of(REFLECTING),
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        config=keys("expose"),
        code=source_digest("orion.expose"),
    shell:
        "python -m orion.expose --config {params.config:q} --samples {input.samples} --verdicts {input.verdicts}"
        " --output {output} 2> {log}"


rule reflect:
    input:
        problems=traced,
        trace_verdicts="results/{dataset}/trace_verdicts.parquet",
        errors="results/{dataset}/{model}/{arm}/errors.parquet",
        model="results/models/{model}/model.json",
    output:
        "results/{dataset}/{model}/{arm}/reflections.parquet",
    log:
        "logs/{dataset}/{model}/{arm}/reflections.log",
    benchmark:
        "logs/{dataset}/{model}/{arm}/reflections.usage.tsv"
    wildcard_constraints:
        arm=one_of(REFLECTING),
    conda:
        environment(*(CONFIG.of_arm("reflect", arm).engine for arm in REFLECTING))
    resources:
        batch_size=128,
        # where the work goes; on GPUs the last bits may depend on it, so that it is no reason to generate anew
        shards=1,
        tensor_parallel_size=1,
        # an integer: Snakemake rounds other numbers of a profile
        gpu_memory_percent=90,
        batch_invariant=0,
        token_budget=0,
        base_url=server("base_url"),
        api_key_env=server("api_key_env"),
        python="python",
        runtime="8h",
        mem_mb=4000,
    params:
        config=keys("reflect"),
        code=source_digest("orion.reflect"),
    shell:
        "{resources.python} -m orion.reflect --config {params.config:q} --problems {input.problems}"
        " --trace-verdicts {input.trace_verdicts} --errors {input.errors} --model {input.model}"
        " --cells results/cells --batch-size {resources.batch_size} --shards {resources.shards}"
        " --tensor-parallel-size {resources.tensor_parallel_size} --token-budget {resources.token_budget}"
        " --base-url={resources.base_url:q} --api-key-env={resources.api_key_env:q}"
        " --gpu-memory-percent {resources.gpu_memory_percent}"
        " --batch-invariant {resources.batch_invariant} --output {output} 2> {log}"


rule check_reflections:
    input:
        problems="results/{dataset}/problems.parquet",
        samples="results/{dataset}/{model}/{arm}/reflections.parquet",
    output:
        "results/{dataset}/{model}/{arm}/reflection_verdicts.parquet",
    log:
        "logs/{dataset}/{model}/{arm}/reflection_verdicts.log",
    benchmark:
        "logs/{dataset}/{model}/{arm}/reflection_verdicts.usage.tsv"
    wildcard_constraints:
        arm=one_of(REFLECTING),
    conda:
        "../../envs/base.yaml"
    threads: 1
    resources:
        runtime="1h",
        mem_mb=2000,
    params:
        config=keys("check_reflections"),
        code=source_digest("orion.check"),
    shell:
        "python -m orion.check --config {params.config:q} --problems {input.problems} --samples {input.samples}"
        " --workers {threads} --output {output} 2> {log}"
