"""Problems of datasets and benchmarks from their sources, and the lint of their gold answers.

A source with an address is fetched first, into a file that is named by the digest of its bytes.

The lint runs twice: inside the rules that make problems, so that nothing is sampled for golds that
cannot be parsed, and as a separate rule, so that lint.json follows every edit of the checker
without making the problems look new. An order-only edge from lint.json to sample would hide changed
params downstream (LOG.md, 2026-11-23).

One row of problems.parquet is one problem: problem_id, problem, answer, solution?, teacher_trace?,
meta, further_traces?, trace_sources?. A dataset that names a teacher has no traces in its file: the teacher answers like any other
model, and problems_with_traces.parquet has the teacher's correct answers as traces.
"""


rule fetch:
    output:
        "results/sources/{source}",
    log:
        "logs/sources/{source}.log",
    benchmark:
        "logs/sources/{source}.usage.tsv"
    localrule: True
    conda:
        "../../envs/base.yaml"
    resources:
        url=source_url,
    params:
        config=tracked_config("fetch"),
        code=source_digest("orion.stages.fetch"),
    shell:
        "python -m orion.stages.fetch --config {params.config:q} --url {resources.url:q}"
        " --output {output} 2> {log}"


rule dataset:
    input:
        files=keep_place(dataset_files),
        benchmarks=expand(
            "results/benchmarks/{benchmark}/problems.parquet",
            benchmark=RUNS.benchmarks,
        ),
    output:
        problems="results/datasets/{dataset}/problems.parquet",
        rejected="results/datasets/{dataset}/rejected.parquet",
    log:
        "logs/datasets/{dataset}/problems.log",
    benchmark:
        "logs/datasets/{dataset}/problems.usage.tsv"
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        config=tracked_config("dataset"),
        code=source_digest("orion.stages.dataset"),
    shell:
        "python -m orion.stages.dataset --config {params.config:q} --benchmark {input.benchmarks}"
        " --output {output.problems} --rejected {output.rejected} 2> {log}"
        " && python -m orion.stages.lint --config {params.config:q} --problems {output.problems}"
        " 2>> {log}"


use rule dataset as benchmark with:
    input:
        files=keep_place(benchmark_files),
        benchmarks=[],
    output:
        problems="results/benchmarks/{benchmark}/problems.parquet",
        rejected="results/benchmarks/{benchmark}/rejected.parquet",
    log:
        "logs/benchmarks/{benchmark}/problems.log",
    benchmark:
        "logs/benchmarks/{benchmark}/problems.usage.tsv"
    params:
        config=tracked_config("benchmark"),
        code=source_digest("orion.stages.dataset"),


rule lint_dataset:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
    output:
        "results/datasets/{dataset}/lint.json",
    log:
        "logs/datasets/{dataset}/lint.log",
    benchmark:
        "logs/datasets/{dataset}/lint.usage.tsv"
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        config=tracked_config("lint"),
        code=source_digest("orion.stages.lint"),
    shell:
        "python -m orion.stages.lint --config {params.config:q} --problems {input.problems}"
        " --output {output} 2> {log}"


use rule lint_dataset as lint_benchmark with:
    input:
        problems="results/benchmarks/{benchmark}/problems.parquet",
    output:
        "results/benchmarks/{benchmark}/lint.json",
    log:
        "logs/benchmarks/{benchmark}/lint.log",
    benchmark:
        "logs/benchmarks/{benchmark}/lint.usage.tsv"


rule trace:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
        samples=teacher_file("samples.parquet"),
        verdicts=teacher_file("verdicts.parquet"),
    output:
        "results/datasets/{dataset}/problems_with_traces.parquet",
    log:
        "logs/datasets/{dataset}/problems_with_traces.log",
    benchmark:
        "logs/datasets/{dataset}/problems_with_traces.usage.tsv"
    wildcard_constraints:
        dataset=any_of(DATASETS_WITH_TEACHER),
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        config=tracked_config("trace"),
        code=source_digest("orion.stages.trace"),
    shell:
        "python -m orion.stages.trace --config {params.config:q} --problems {input.problems}"
        " --samples {input.samples} --verdicts {input.verdicts} --output {output} 2> {log}"
