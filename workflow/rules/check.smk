"""Verdicts: of the student's samples, and of the teacher's traces (a trace whose answer is wrong teaches nobody).

`--set-threads check=8` spreads the row groups of a large table over so many processes.
"""


rule check:
    input:
        problems="results/{dataset}/problems.parquet",
        samples="results/{dataset}/{model}/samples.parquet",
    output:
        "results/{dataset}/{model}/verdicts.parquet",
    log:
        "logs/{dataset}/{model}/verdicts.log",
    benchmark:
        "logs/{dataset}/{model}/verdicts.usage.tsv"
    conda:
        "../../envs/base.yaml"
    threads: 1
    resources:
        runtime="1h",
        mem_mb=2000,
    params:
        config=keys("check"),
        code=source_digest("orion.check"),
    shell:
        "python -m orion.check --config {params.config:q} --problems {input.problems} --samples {input.samples}"
        " --workers {threads} --output {output} 2> {log}"


rule check_traces:
    input:
        problems=traced,
    output:
        "results/{dataset}/trace_verdicts.parquet",
    log:
        "logs/{dataset}/trace_verdicts.log",
    benchmark:
        "logs/{dataset}/trace_verdicts.usage.tsv"
    conda:
        "../../envs/base.yaml"
    threads: 1
    resources:
        runtime="1h",
        mem_mb=2000,
    params:
        config=keys("check_traces"),
        code=source_digest("orion.check"),
    shell:
        "python -m orion.check --config {params.config:q} --problems {input.problems} --samples {input.problems}"
        " --workers {threads} --output {output} 2> {log}"
