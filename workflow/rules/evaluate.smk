"""Each fine-tuned student, and the untrained one, on each benchmark: samples, checks, scores."""


use rule sample as evaluate_sample with:
    input:
        problems="results/benchmarks/{benchmark}/problems.parquet",
        model=evaluated_model,
        preflight="results/models/{model}/preflight.json",
    output:
        "results/datasets/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/samples.parquet",
    log:
        "logs/datasets/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/samples.log",
    benchmark:
        "logs/datasets/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/samples.usage.tsv"
    conda:
        environment(CONFIG.evaluate.engine)
    params:
        config=tracked_config("evaluate_sample"),
        code=source_digest("orion.stages.sample"),


use rule check as evaluate_check with:
    input:
        problems="results/benchmarks/{benchmark}/problems.parquet",
        samples="results/datasets/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/samples.parquet",
    output:
        verdicts="results/datasets/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/verdicts.parquet",
        steps="results/datasets/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/steps.parquet",
    log:
        "logs/datasets/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/verdicts.log",
    benchmark:
        "logs/datasets/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/verdicts.usage.tsv"
    params:
        config=tracked_config("evaluate_check"),
        code=source_digest("orion.stages.check"),


# only where `report.second_policy` names a policy: the same answers, checked under it
use rule check as evaluate_recheck with:
    input:
        problems="results/benchmarks/{benchmark}/problems.parquet",
        samples="results/datasets/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/samples.parquet",
    output:
        verdicts="results/datasets/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/second/verdicts.parquet",
        steps="results/datasets/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/second/steps.parquet",
    log:
        "logs/datasets/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/second.log",
    benchmark:
        "logs/datasets/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/second.usage.tsv"
    params:
        config=tracked_config("evaluate_recheck"),
        code=source_digest("orion.stages.check"),


rule evaluate:
    input:
        problems="results/benchmarks/{benchmark}/problems.parquet",
        samples="results/datasets/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/samples.parquet",
        verdicts="results/datasets/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/verdicts.parquet",
    output:
        "results/datasets/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/scores.json",
    log:
        "logs/datasets/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/scores.log",
    benchmark:
        "logs/datasets/{dataset}/{model}/{arm}/seed-{seed}/{benchmark}/scores.usage.tsv"
    localrule: True
    conda:
        "../../envs/base.yaml"
    resources:
        plan=f"{RESULTS}/plan.json",
        plan_digest=plan_if_evaluating,
    params:
        config=tracked_config("evaluate"),
        code=source_digest("orion.stages.evaluate"),
    shell:
        "python -m orion.stages.evaluate --config {params.config:q} --problems {input.problems}"
        " --samples {input.samples} --verdicts {input.verdicts} --plan {resources.plan}"
        " --plan-digest={resources.plan_digest:q} --output {output} 2> {log}"
