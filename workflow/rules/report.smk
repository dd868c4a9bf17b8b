"""The page: one self-contained HTML file, and every number on it as CSV."""


rule report:
    input:
        plan="results/plan.json",
        lints=[
            *expand("results/datasets/{dataset}/lint.json", dataset=RUNS.datasets),
            *expand(
                "results/benchmarks/{benchmark}/lint.json", benchmark=RUNS.benchmarks
            ),
        ],
        # all that the page reads, so that a missing file is made again
        arms=expand(
            "results/datasets/{dataset}/{model}/{arm}/{file}",
            dataset=RUNS.datasets,
            model=RUNS.models,
            arm=[arm for arm in RUNS.arms if arm in TRAINED],
            file=[
                "train.parquet",
                "filters.json",
                "packed/train.parquet",
                "packed/stats.json",
            ],
        ),
        surprise=expand(
            "results/datasets/{dataset}/{model}/{arm}/surprise.parquet",
            dataset=RUNS.datasets,
            model=RUNS.models,
            arm=[
                arm for arm in RUNS.arms if arm in TRAINED and CONFIG.report.surprise
            ],
        ),
        errors=expand(
            "results/datasets/{dataset}/{model}/{arm}/errors.parquet",
            dataset=RUNS.datasets,
            model=RUNS.models,
            arm=[arm for arm in RUNS.arms if arm in NEEDING_ERRORS],
        ),
        reflections=expand(
            "results/datasets/{dataset}/{model}/{arm}/{file}.parquet",
            dataset=RUNS.datasets,
            model=RUNS.models,
            arm=[arm for arm in RUNS.arms if arm in REFLECTING],
            file=[
                "reflections",
                "reflection_verdicts",
                "reflection_steps",
            ],
        ),
        logs=expand(
            "results/datasets/{dataset}/{model}/{arm}/seed-{seed}/train_log.jsonl",
            dataset=RUNS.datasets,
            model=RUNS.models,
            arm=[arm for arm in RUNS.arms if arm in TRAINED],
            seed=RUNS.seeds,
        ),
        verdicts=expand(
            "results/datasets/{dataset}/{model}/{file}.parquet",
            dataset=RUNS.datasets,
            model=RUNS.models,
            file=["verdicts", "steps"],
        ),
        scores=expand(
            "results/datasets/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/{file}",
            dataset=RUNS.datasets,
            model=RUNS.models,
            arm=RUNS.arms,
            seed=RUNS.seeds,
            benchmark=RUNS.benchmarks,
            file=["steps.parquet", "scores.json"],
        ),
        rechecks=expand(
            "results/datasets/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/second/{file}.parquet",
            dataset=RUNS.datasets,
            model=RUNS.models,
            arm=RUNS.arms,
            seed=RUNS.seeds,
            benchmark=RUNS.benchmarks,
            file=["verdicts", "steps"] if CONFIG.report.second_policy else [],
        ),
        judgements=JUDGED,
    output:
        page=report(
            "results/report/index.html",
            caption="../report/index.rst",
            category="Report",
        ),
        table=report(
            "results/report/table.csv",
            caption="../report/table.rst",
            category="Tables",
        ),
        comparisons=report(
            "results/report/comparisons.csv",
            caption="../report/comparisons.rst",
            category="Tables",
        ),
        group_comparisons="results/report/group_comparisons.csv",
        group_students="results/report/group_students.csv",
        reflections="results/report/reflections.csv",
        error_coverage="results/report/error_coverage.csv",
        false_steps="results/report/false_steps.csv",
        false_steps_training="results/report/false_steps_training.csv",
        pass_at="results/report/pass_at.csv",
        answers="results/report/answers.csv",
        data_tokens="results/report/data_tokens.csv",
        cohorts="results/report/cohorts.csv",
        first_false_steps="results/report/first_false_steps.csv",
        levels="results/report/levels.csv",
        flips="results/report/flips.csv",
        largest_flips="results/report/largest_flips.csv",
        second_policy="results/report/second_policy.csv",
        coherence="results/report/coherence.csv",
        stability="results/report/stability.csv",
        surprise="results/report/surprise.csv",
        judge="results/report/judge.csv",
        lengths="results/report/lengths.csv",
        waterfall="results/report/waterfall.csv",
        selection="results/report/selection.csv",
        base="results/report/base.csv",
        seeds="results/report/seeds.csv",
        curves="results/report/curves.csv",
        numbers="results/report/report.json",
        figures=directory("results/report/figures"),
    log:
        "logs/report/report.log",
    benchmark:
        "logs/report/report.usage.tsv"
    localrule: True
    conda:
        "../../envs/base.yaml"
    resources:
        results=RESULTS,
    params:
        config=tracked_config("report"),
        code=source_digest("orion.stages.report"),
    shell:
        "python -m orion.stages.report --config {params.config:q} --results {resources.results}"
        " --output-dir {resources.results}/report 2> {log}"
