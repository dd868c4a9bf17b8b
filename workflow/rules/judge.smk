"""A judge model compares the answers of two arms; only where `report.judge` names one."""


rule judge:
    input:
        problems="results/benchmarks/{benchmark}/problems.parquet",
        samples=f"results/datasets/{{dataset}}/{{model}}/{{arm}}/seed-{RUNS.seeds[0]}/{{benchmark}}/samples.parquet",
        against=f"results/datasets/{{dataset}}/{{model}}/{{against}}/seed-{RUNS.seeds[0]}/{{benchmark}}/samples.parquet",
        model=of_judge("model.json"),
        preflight=of_judge("preflight.json"),
    output:
        "results/datasets/{dataset}/{model}/{arm}/judged/{against}/{benchmark}/judgements.parquet",
    log:
        "logs/datasets/{dataset}/{model}/{arm}/judged/{against}/{benchmark}/judgements.log",
    benchmark:
        "logs/datasets/{dataset}/{model}/{arm}/judged/{against}/{benchmark}/judgements.usage.tsv"
    conda:
        environment(getattr(CONFIG.report.judge, "engine", None))
    resources:
        **generation_by(judge),
        batch_size=128,
    params:
        config=tracked_config("judge"),
        code=source_digest("orion.stages.judge"),
    shell:
        "{resources.python} -m orion.stages.judge --config {params.config:q}"
        " --problems {input.problems} --samples {input.samples} --against-samples {input.against}"
        " --model {input.model} --preflight {input.preflight}"
        " --completions {resources.completions}"
        " --batch-size {resources.batch_size} --shards {resources.shards}"
        " --tensor-parallel-size {resources.tensor_parallel_size}"
        " --token-budget {resources.token_budget} --base-url={resources.base_url:q}"
        " --api-key-env={resources.api_key_env:q} --headers={resources.headers:q}"
        " --query={resources.query:q} --ceiling={resources.ceiling:q}"
        " --gpu-memory-percent {resources.gpu_memory_percent}"
        " --batch-invariant {resources.batch_invariant} --output {output} 2> {log}"
