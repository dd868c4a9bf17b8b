"""Verdicts and steps of samples and of teacher traces; a trace with a wrong answer is not used.

`--set-threads check=8` spreads the row groups of a large table over 8 processes.
"""


rule check:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
        samples="results/datasets/{dataset}/{model}/samples.parquet",
    output:
        verdicts="results/datasets/{dataset}/{model}/verdicts.parquet",
        steps="results/datasets/{dataset}/{model}/steps.parquet",
    log:
        "logs/datasets/{dataset}/{model}/verdicts.log",
    benchmark:
        "logs/datasets/{dataset}/{model}/verdicts.usage.tsv"
    conda:
        "../../envs/base.yaml"
    threads: 1
    resources:
        runtime="1h",
        mem_mb=2000,
    params:
        config=tracked_config("check"),
        code=source_digest("orion.stages.check"),
    shell:
        "python -m orion.stages.check --config {params.config:q} --problems {input.problems}"
        " --samples {input.samples} --workers {threads} --output {output.verdicts}"
        " --output-steps {output.steps} 2> {log}"


use rule check as check_traces with:
    input:
        problems=problems_with_traces,
        samples=problems_with_traces,
    output:
        verdicts="results/datasets/{dataset}/trace_verdicts.parquet",
        steps="results/datasets/{dataset}/trace_steps.parquet",
    log:
        "logs/datasets/{dataset}/trace_verdicts.log",
    benchmark:
        "logs/datasets/{dataset}/trace_verdicts.usage.tsv"
    params:
        config=tracked_config("check_traces"),
        code=source_digest("orion.stages.check"),
