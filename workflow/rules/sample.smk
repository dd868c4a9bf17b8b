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
        # where the work goes; none of these can change an answer
        shards=1,
        tensor_parallel_size=1,
        gpu_memory_utilization="0.9",
        batch_invariant=0,
        token_budget=0,
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
        " --gpu-memory-utilization {resources.gpu_memory_utilization}"
        " --batch-invariant {resources.batch_invariant} --output {output} 2> {log}"
