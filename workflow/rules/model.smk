"""The student: pre-trained for the embedded default, else a folder, hub revision or server."""


rule student:
    output:
        checkpoint=directory("results/models/{model}/checkpoint"),
    log:
        "logs/models/{model}/student.log",
    benchmark:
        "logs/models/{model}/student.usage.tsv"
    wildcard_constraints:
        model=any_of(DEMO_MODELS),
    conda:
        "../../envs/base.yaml"
    threads: 2
    resources:
        runtime="1h",
        mem_mb=4000,
    params:
        config=tracked_config("student"),
        code=source_digest("orion.demo.student"),
    shell:
        "python -m orion.demo.student --config {params.config:q} --output {output.checkpoint}"
        " 2> {log}"


rule register_model:
    input:
        # a folder that the workflow made itself; empty for models from elsewhere
        checkpoint=[],
        files=keep_place(checkpoint_files),
        template=keep_place(template_files),
    output:
        "results/models/{model}/model.json",
    log:
        "logs/models/{model}/model.log",
    benchmark:
        "logs/models/{model}/model.usage.tsv"
    wildcard_constraints:
        model=any_of(name for name in CONFIG.models if name not in DEMO_MODELS),
    localrule: True
    conda:
        "../../envs/base.yaml"
    resources:
        token_limits=token_limits,
    params:
        config=tracked_config("model"),
        code=source_digest("orion.stages.model"),
    shell:
        "python -m orion.stages.model --config {params.config:q} --name {wildcards.model}"
        " --checkpoint {input.checkpoint} --token-limits {resources.token_limits}"
        " --output {output} 2> {log}"


use rule register_model as register_demo_model with:
    input:
        checkpoint="results/models/{model}/checkpoint",
        files=[],
        template=keep_place(template_files),
    wildcard_constraints:
        model=any_of(DEMO_MODELS),
