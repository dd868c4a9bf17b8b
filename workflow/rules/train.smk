"""Select each arm's training rows, pack them, fine-tune the student on them."""

ARM = "results/datasets/{dataset}/{model}/{arm}"


rule select:
    input:
        problems=problems_with_traces,
        trace_verdicts="results/datasets/{dataset}/trace_verdicts.parquet",
        trace_steps="results/datasets/{dataset}/trace_steps.parquet",
        # empty for arms that train on no text of the student
        samples=if_sampling("samples.parquet"),
        verdicts=if_sampling("verdicts.parquet"),
        steps=if_sampling("steps.parquet"),
        # empty for arms that need no errors
        errors=if_among(NEEDING_ERRORS, f"{ARM}/errors.parquet"),
        # empty for arms that do not reflect
        reflections=if_among(REFLECTING, f"{ARM}/reflections.parquet"),
        reflection_verdicts=if_among(REFLECTING, f"{ARM}/reflection_verdicts.parquet"),
        reflection_steps=if_among(REFLECTING, f"{ARM}/reflection_steps.parquet"),
        # empty for arms that take their texts by another preference
        sample_surprisal=if_among(
            SELECTING_SAMPLES_BY_SURPRISAL,
            "results/datasets/{dataset}/{model}/sample_surprisal.parquet",
        ),
        reflection_surprisal=if_among(
            SELECTING_REFLECTIONS_BY_SURPRISAL, f"{ARM}/reflection_surprisal.parquet"
        ),
    output:
        train="results/datasets/{dataset}/{model}/{arm}/train.parquet",
        filters="results/datasets/{dataset}/{model}/{arm}/filters.json",
        preview="results/datasets/{dataset}/{model}/{arm}/preview.jsonl",
    log:
        "logs/datasets/{dataset}/{model}/{arm}/train.log",
    benchmark:
        "logs/datasets/{dataset}/{model}/{arm}/train.usage.tsv"
    wildcard_constraints:
        arm=any_of(UNMATCHED),
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        config=tracked_config("select"),
        code=source_digest("orion.stages.select"),
    shell:
        "python -m orion.stages.select --config {params.config:q} --arm {wildcards.arm}"
        " --problems {input.problems} --trace-verdicts {input.trace_verdicts}"
        " --trace-steps {input.trace_steps} --samples {input.samples} --verdicts {input.verdicts}"
        " --steps {input.steps} --errors {input.errors} --reflections {input.reflections}"
        " --reflection-verdicts {input.reflection_verdicts}"
        " --reflection-steps {input.reflection_steps}"
        " --sample-surprisal {input.sample_surprisal}"
        " --reflection-surprisal {input.reflection_surprisal}"
        " --output {output.train} --filters {output.filters} --preview {output.preview} 2> {log}"


use rule select as select_unmatched with:
    output:
        train="results/datasets/{dataset}/{model}/{arm}/unmatched/train.parquet",
        filters="results/datasets/{dataset}/{model}/{arm}/unmatched/filters.json",
        preview="results/datasets/{dataset}/{model}/{arm}/unmatched/preview.jsonl",
    log:
        "logs/datasets/{dataset}/{model}/{arm}/unmatched/train.log",
    benchmark:
        "logs/datasets/{dataset}/{model}/{arm}/unmatched/train.usage.tsv"
    wildcard_constraints:
        arm=any_of(MATCHED),


rule match:
    input:
        rows="results/datasets/{dataset}/{model}/{arm}/unmatched/train.parquet",
        rows_filters="results/datasets/{dataset}/{model}/{arm}/unmatched/filters.json",
        others=matched_rows,
        # empty for arms without a budget
        budget=if_budget(
            "results/datasets/{dataset}/{model}/{budget}/packed/stats.json"
        ),
        # empty for arms whose tokens are not matched
        model=if_counting_tokens("results/models/{model}/model.json"),
        preflight=if_counting_tokens("results/models/{model}/preflight.json"),
    output:
        train="results/datasets/{dataset}/{model}/{arm}/train.parquet",
        filters="results/datasets/{dataset}/{model}/{arm}/filters.json",
        preview="results/datasets/{dataset}/{model}/{arm}/preview.jsonl",
    log:
        "logs/datasets/{dataset}/{model}/{arm}/train.log",
    benchmark:
        "logs/datasets/{dataset}/{model}/{arm}/train.usage.tsv"
    wildcard_constraints:
        arm=any_of(MATCHED),
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        config=tracked_config("match"),
        code=source_digest("orion.stages.match"),
    shell:
        "python -m orion.stages.match --config {params.config:q} --arm {wildcards.arm}"
        " --rows {input.rows} --rows-filters {input.rows_filters} --others {input.others}"
        " --budget {input.budget} --model {input.model} --preflight {input.preflight}"
        " --output {output.train} --filters {output.filters} --preview {output.preview} 2> {log}"


rule pack:
    input:
        train="results/datasets/{dataset}/{model}/{arm}/train.parquet",
        model="results/models/{model}/model.json",
        preflight="results/models/{model}/preflight.json",
        # empty for arms whose training weighs every token alike
        errors=if_among(WEIGHING_KEY_STEPS, f"{ARM}/errors.parquet"),
    output:
        packed="results/datasets/{dataset}/{model}/{arm}/packed/train.parquet",
        stats="results/datasets/{dataset}/{model}/{arm}/packed/stats.json",
    log:
        "logs/datasets/{dataset}/{model}/{arm}/packed.log",
    benchmark:
        "logs/datasets/{dataset}/{model}/{arm}/packed.usage.tsv"
    wildcard_constraints:
        arm=any_of(TRAINED),
    conda:
        "../../envs/base.yaml"
    resources:
        runtime="1h",
        mem_mb=4000,
    params:
        config=tracked_config("pack"),
        code=source_digest("orion.stages.pack"),
    shell:
        "python -m orion.stages.pack --config {params.config:q} --train {input.train}"
        " --model {input.model} --preflight {input.preflight} --errors {input.errors}"
        " --output {output.packed} --stats {output.stats} 2> {log}"


# only where `report.surprise` is true
rule surprise:
    input:
        packed="results/datasets/{dataset}/{model}/{arm}/packed/train.parquet",
        model="results/models/{model}/model.json",
        preflight="results/models/{model}/preflight.json",
    output:
        "results/datasets/{dataset}/{model}/{arm}/surprise.parquet",
    log:
        "logs/datasets/{dataset}/{model}/{arm}/surprise.log",
    benchmark:
        "logs/datasets/{dataset}/{model}/{arm}/surprise.usage.tsv"
    wildcard_constraints:
        arm=any_of(TRAINED),
    conda:
        "../../envs/base.yaml"
    resources:
        runtime="2h",
        mem_mb=4000,
    params:
        config=tracked_config("surprise"),
        code=source_digest("orion.stages.surprise"),
    shell:
        "python -m orion.stages.surprise --config {params.config:q} --packed {input.packed}"
        " --model {input.model} --preflight {input.preflight} --output {output} 2> {log}"


rule train:
    input:
        packed="results/datasets/{dataset}/{model}/{arm}/packed/train.parquet",
        model="results/models/{model}/model.json",
        preflight="results/models/{model}/preflight.json",
    output:
        checkpoint=directory(
            "results/datasets/{dataset}/{model}/{arm}/seed-{seed}/model"
        ),
        model="results/datasets/{dataset}/{model}/{arm}/seed-{seed}/model.json",
        train_log="results/datasets/{dataset}/{model}/{arm}/seed-{seed}/train_log.jsonl",
    log:
        "logs/datasets/{dataset}/{model}/{arm}/seed-{seed}/train.log",
    benchmark:
        "logs/datasets/{dataset}/{model}/{arm}/seed-{seed}/train.usage.tsv"
    wildcard_constraints:
        arm=any_of(TRAINED),
    conda:
        "../../envs/base.yaml"
    resources:
        plan=f"{RESULTS}/plan.json",
        plan_digest=PLAN_DIGEST,
        work=f"{RESULTS}/work",
        ceiling=CEILING,
        micro_batch=4,
        processes=1,
        nodes=1,
        sharding="none",
        kernels="auto",
        save_minutes=10,
        runtime="8h",
        mem_mb=4000,
    params:
        config=tracked_config("train"),
        code=source_digest("orion.stages.train"),
    shell:
        # without a shell in between, a signal to the job's processes does not end it before it saves
        "exec python -m orion.stages.train --config {params.config:q}"
        " --name {wildcards.model}/{wildcards.arm}/seed-{wildcards.seed}"
        " --lineage {wildcards.dataset} {wildcards.model} {wildcards.arm} --packed {input.packed}"
        " --model {input.model} --preflight {input.preflight} --work {resources.work}"
        " --plan {resources.plan} --plan-digest={resources.plan_digest:q}"
        " --micro-batch {resources.micro_batch} --kernels {resources.kernels}"
        " --processes {resources.processes} --nodes {resources.nodes}"
        " --sharding {resources.sharding}"
        " --save-minutes {resources.save_minutes} --ceiling={resources.ceiling:q}"
        " --output-dir {output.checkpoint}"
        " --output-model {output.model} --log {output.train_log} 2> {log}"
