"""Sample num_samples answers per problem; stored completions are not generated again."""


rule sample:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
        model="results/models/{model}/model.json",
        preflight="results/models/{model}/preflight.json",
    output:
        "results/datasets/{dataset}/{model}/samples.parquet",
    log:
        "logs/datasets/{dataset}/{model}/samples.log",
    benchmark:
        "logs/datasets/{dataset}/{model}/samples.usage.tsv"
    conda:
        environment(CONFIG.sample.engine, getattr(CONFIG.teacher, "engine", None))
    resources:
        **GENERATION,
        plan=f"{RESULTS}/plan.json",
        plan_digest=plan_if_evaluating,
        batch_size=256,
    params:
        config=tracked_config("sample"),
        code=source_digest("orion.stages.sample"),
    shell:
        "{resources.python} -m orion.stages.sample --config {params.config:q}"
        " --problems {input.problems} --model {input.model}"
        " --preflight {input.preflight} --completions {resources.completions}"
        " --plan {resources.plan} --plan-digest={resources.plan_digest:q}"
        " --batch-size {resources.batch_size} --shards {resources.shards}"
        " --tensor-parallel-size {resources.tensor_parallel_size}"
        " --token-budget {resources.token_budget} --base-url={resources.base_url:q}"
        " --api-key-env={resources.api_key_env:q} --headers={resources.headers:q}"
        " --query={resources.query:q} --ceiling={resources.ceiling:q}"
        " --gpu-memory-percent {resources.gpu_memory_percent}"
        " --batch-invariant {resources.batch_invariant} --output {output} 2> {log}"
