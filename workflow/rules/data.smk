"""Problems and benchmarks from their sources, kept apart from each other, and the lint of their gold answers.

The lint runs twice: as a gate of the rules that make problems, so that nothing is sampled for golds that cannot be parsed,
and as a rule of its own, so that lint.json follows every edit of the checker without making the problems look new. An
order-only edge from lint.json to sample would not do: LOG.md, 2026-11-23.

One row of problems.parquet is a problem: problem_id, problem, answer, solution?, teacher_trace?, meta. A dataset that names a
teacher has no traces in its file: the teacher answers like any other model, and traced.parquet is the problems with its own
correct answers as traces.
"""


rule benchmark:
    input:
        files=benchmark_files,
    output:
        problems="results/benchmarks/{benchmark}/problems.parquet",
        rejected="results/benchmarks/{benchmark}/rejected.parquet",
    log:
        "logs/benchmarks/{benchmark}/problems.log",
    benchmark:
        "logs/benchmarks/{benchmark}/problems.usage.tsv"
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        config=keys("benchmark"),
        code=source_digest("orion.dataset"),
    shell:
        "python -m orion.dataset --config {params.config:q}"
        " --output {output.problems} --rejected {output.rejected} 2> {log}"
        " && python -m orion.lint --config {params.config:q} --problems {output.problems} 2>> {log}"


rule dataset:
    input:
        files=dataset_files,
        benchmarks=expand(
            "results/benchmarks/{benchmark}/problems.parquet",
            benchmark=RUNS.benchmarks,
        ),
    output:
        problems="results/{dataset}/problems.parquet",
        rejected="results/{dataset}/rejected.parquet",
    log:
        "logs/{dataset}/problems.log",
    benchmark:
        "logs/{dataset}/problems.usage.tsv"
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        config=keys("dataset"),
        code=source_digest("orion.dataset"),
    shell:
        "python -m orion.dataset --config {params.config:q} --benchmark {input.benchmarks}"
        " --output {output.problems} --rejected {output.rejected} 2> {log}"
        " && python -m orion.lint --config {params.config:q} --problems {output.problems} 2>> {log}"


rule lint_benchmark:
    input:
        problems="results/benchmarks/{benchmark}/problems.parquet",
    output:
        "results/benchmarks/{benchmark}/lint.json",
    log:
        "logs/benchmarks/{benchmark}/lint.log",
    benchmark:
        "logs/benchmarks/{benchmark}/lint.usage.tsv"
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        config=keys("lint"),
        code=source_digest("orion.lint"),
    shell:
        "python -m orion.lint --config {params.config:q} --problems {input.problems} --output {output} 2> {log}"


rule lint_dataset:
    input:
        problems="results/{dataset}/problems.parquet",
    output:
        "results/{dataset}/lint.json",
    log:
        "logs/{dataset}/lint.log",
    benchmark:
        "logs/{dataset}/lint.usage.tsv"
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        config=keys("lint"),
        code=source_digest("orion.lint"),
    shell:
        "python -m orion.lint --config {params.config:q} --problems {input.problems} --output {output} 2> {log}"


rule trace:
    input:
        problems="results/{dataset}/problems.parquet",
        samples=of_teacher("samples.parquet"),
        verdicts=of_teacher("verdicts.parquet"),
    output:
        "results/{dataset}/traced.parquet",
    log:
        "logs/{dataset}/traced.log",
    benchmark:
        "logs/{dataset}/traced.usage.tsv"
    wildcard_constraints:
        dataset=one_of(TAUGHT),
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        config=keys("trace"),
        code=source_digest("orion.trace"),
    shell:
        "python -m orion.trace --config {params.config:q} --problems {input.problems} --samples {input.samples}"
        " --verdicts {input.verdicts} --output {output} 2> {log}"
