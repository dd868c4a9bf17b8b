"""Each fine-tuned student, and the untrained one, on each benchmark: samples, verdicts, scores."""


rule evaluate_sample:
    input:
        problems="results/benchmarks/{benchmark}/problems.parquet",
        model=model_of,
    output:
        "results/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/samples.parquet",
    log:
        "logs/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/samples.log",
    benchmark:
        "logs/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/samples.usage.tsv"
    conda:
        environment(CONFIG.evaluate.engine)
    resources:
        batch_size=256,
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
        config=keys("evaluate_sample"),
        code=source_digest("orion.sample"),
    shell:
        "{resources.python} -m orion.sample --config {params.config:q} --problems {input.problems} --model {input.model}"
        " --cells results/cells --batch-size {resources.batch_size} --shards {resources.shards}"
        " --tensor-parallel-size {resources.tensor_parallel_size} --token-budget {resources.token_budget}"
        " --base-url={resources.base_url:q} --api-key-env={resources.api_key_env:q}"
        " --gpu-memory-percent {resources.gpu_memory_percent}"
        " --batch-invariant {resources.batch_invariant} --output {output} 2> {log}"


rule evaluate_check:
    input:
        problems="results/benchmarks/{benchmark}/problems.parquet",
        samples="results/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/samples.parquet",
    output:
        "results/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/verdicts.parquet",
    log:
        "logs/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/verdicts.log",
    benchmark:
        "logs/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/verdicts.usage.tsv"
    conda:
        "../../envs/base.yaml"
    threads: 1
    resources:
        runtime="1h",
        mem_mb=2000,
    params:
        config=keys("evaluate_check"),
        code=source_digest("orion.check"),
    shell:
        "python -m orion.check --config {params.config:q} --problems {input.problems} --samples {input.samples}"
        " --workers {threads} --output {output} 2> {log}"


rule evaluate:
    input:
        problems="results/benchmarks/{benchmark}/problems.parquet",
        samples="results/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/samples.parquet",
        verdicts="results/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/verdicts.parquet",
    output:
        "results/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/scores.json",
    log:
        "logs/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/scores.log",
    benchmark:
        "logs/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/scores.usage.tsv"
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        config=keys("evaluate"),
        code=source_digest("orion.evaluate"),
    shell:
        "python -m orion.evaluate --config {params.config:q} --problems {input.problems} --samples {input.samples}"
        " --verdicts {input.verdicts} --output {output} 2> {log}"
