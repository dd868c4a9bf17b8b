"""The plan, registered before anything is evaluated; each change of it is a version of its own.

No rule has an edge from it. An edit of a comparison must not repeat a training, and an order-only
edge would hide other changes of the jobs behind it (LOG.md, 2026-11-23). The rule has no input and
the highest priority, so that it starts first; jobs that train or evaluate wait for it themselves
and record its digest.
"""


rule plan:
    output:
        # not removed before the job: the stage adds to the history that it finds
        update("results/plan.json"),
    log:
        "logs/plan.log",
    benchmark:
        "logs/plan.usage.tsv"
    priority: 100
    localrule: True
    conda:
        "../../envs/base.yaml"
    resources:
        results=RESULTS,
    params:
        config=tracked_config("plan"),
        code=source_digest("orion.stages.plan"),
    shell:
        "python -m orion.stages.plan --config {params.config:q} --results {resources.results}"
        " --output {output} 2> {log}"
