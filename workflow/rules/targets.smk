"""Targets, one per milestone of the pipeline: data, samples, packed, trained, all."""

GRID = dict(
    dataset=RUNS.datasets, model=RUNS.models, seed=RUNS.seeds, benchmark=RUNS.benchmarks
)
RUN_TRAINED = [arm for arm in RUNS.arms if arm in TRAINED]


rule data:
    input:
        expand("results/datasets/{dataset}/lint.json", **GRID),
        expand("results/benchmarks/{benchmark}/lint.json", **GRID),
    localrule: True


rule samples:
    input:
        expand("results/datasets/{dataset}/{model}/verdicts.parquet", **GRID),
    localrule: True


rule packed:
    input:
        expand(
            "results/datasets/{dataset}/{model}/{arm}/packed/stats.json",
            arm=RUN_TRAINED,
            **GRID,
        ),
    localrule: True


rule trained:
    input:
        "results/plan.json",
        expand(
            "results/datasets/{dataset}/{model}/{arm}/seed-{seed}/model.json",
            arm=RUN_TRAINED,
            **GRID,
        ),
    localrule: True
