"""Select each arm's training rows, pack them, fine-tune the student on them."""


rule select:
    input:
        problems=traced,
        trace_verdicts="results/{dataset}/trace_verdicts.parquet",
        samples="results/{dataset}/{model}/samples.parquet",
        verdicts="results/{dataset}/{model}/verdicts.parquet",
        # empty for arms that do not reflect
        errors=if_reflecting("errors.parquet"),
        reflections=if_reflecting("reflections.parquet"),
        reflection_verdicts=if_reflecting("reflection_verdicts.parquet"),
    output:
        train="results/{dataset}/{model}/{arm}/train.parquet",
        filters="results/{dataset}/{model}/{arm}/filters.json",
        preview="results/{dataset}/{model}/{arm}/preview.jsonl",
    log:
        "logs/{dataset}/{model}/{arm}/train.log",
    benchmark:
        "logs/{dataset}/{model}/{arm}/train.usage.tsv"
    wildcard_constraints:
        arm=one_of(TRAINED),
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        config=keys("select"),
        code=source_digest("orion.select"),
    shell:
        "python -m orion.select --config {params.config:q} --arm {wildcards.arm} --problems {input.problems}"
        " --trace-verdicts {input.trace_verdicts} --samples {input.samples} --verdicts {input.verdicts}"
        " --errors {input.errors} --reflections {input.reflections}"
        " --reflection-verdicts {input.reflection_verdicts}"
        " --output {output.train} --filters {output.filters} --preview {output.preview} 2> {log}"


rule pack:
    input:
        train="results/{dataset}/{model}/{arm}/train.parquet",
        model="results/models/{model}/model.json",
    output:
        packed="results/{dataset}/{model}/{arm}/packed/train.parquet",
        stats="results/{dataset}/{model}/{arm}/packed/stats.json",
    log:
        "logs/{dataset}/{model}/{arm}/packed.log",
    benchmark:
        "logs/{dataset}/{model}/{arm}/packed.usage.tsv"
    wildcard_constraints:
        arm=one_of(TRAINED),
    conda:
        "../../envs/base.yaml"
    resources:
        runtime="1h",
        mem_mb=4000,
    params:
        config=keys("pack"),
        code=source_digest("orion.pack"),
    shell:
        "python -m orion.pack --config {params.config:q} --train {input.train} --model {input.model}"
        " --output {output.packed} --stats {output.stats} 2> {log}"


rule train:
    input:
        packed="results/{dataset}/{model}/{arm}/packed/train.parquet",
        model="results/models/{model}/model.json",
    output:
        checkpoint=directory("results/{dataset}/{model}/{arm}/seed-{seed}/model"),
        model="results/{dataset}/{model}/{arm}/seed-{seed}/model.json",
        train_log="results/{dataset}/{model}/{arm}/seed-{seed}/train_log.jsonl",
    log:
        "logs/{dataset}/{model}/{arm}/seed-{seed}/train.log",
    benchmark:
        "logs/{dataset}/{model}/{arm}/seed-{seed}/train.usage.tsv"
    wildcard_constraints:
        arm=one_of(TRAINED),
    conda:
        "../../envs/base.yaml"
    resources:
        micro_batch=4,
        kernels="auto",
        runtime="8h",
        mem_mb=4000,
    params:
        config=keys("train"),
        code=source_digest("orion.train"),
    shell:
        "python -m orion.train --config {params.config:q} --name {wildcards.model}/{wildcards.arm}/seed-{wildcards.seed}"
        " --packed {input.packed} --model {input.model} --work results/work --micro-batch {resources.micro_batch}"
        " --kernels {resources.kernels} --output-dir {output.checkpoint} --output-model {output.model} --log {output.train_log} 2> {log}"
