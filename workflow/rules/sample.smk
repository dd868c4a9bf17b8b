"""The student answers every problem k times. Completions already in results/cells are not generated again."""


rule sample:
    input:
        problems="results/{dataset}/problems.parquet",
        model="results/models/{model}/model.json",
    output:
        "results/{dataset}/{model}/samples.parquet",
    log:
        "logs/{dataset}/{model}/samples.log",
    benchmark:
        "logs/{dataset}/{model}/samples.usage.tsv"
    conda:
        environment(CONFIG.sample.engine, getattr(CONFIG.teacher, "engine", None))
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
        config=keys("sample"),
        code=source_digest("orion.sample"),
    shell:
        "{resources.python} -m orion.sample --config {params.config:q} --problems {input.problems} --model {input.model}"
        " --cells results/cells --batch-size {resources.batch_size} --shards {resources.shards}"
        " --tensor-parallel-size {resources.tensor_parallel_size} --token-budget {resources.token_budget}"
        " --base-url={resources.base_url:q} --api-key-env={resources.api_key_env:q}"
        " --gpu-memory-percent {resources.gpu_memory_percent}"
        " --batch-invariant {resources.batch_invariant} --output {output} 2> {log}"
