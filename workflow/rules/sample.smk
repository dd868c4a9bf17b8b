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
        "../../envs/base.yaml"
    resources:
        batch_size=256,
        runtime="8h",
        mem_mb=4000,
    params:
        config=keys("sample"),
        code=source_digest("orion.sample"),
    shell:
        "python -m orion.sample --config {params.config:q} --problems {input.problems} --model {input.model}"
        " --cells results/cells --batch-size {resources.batch_size} --output {output} 2> {log}"
