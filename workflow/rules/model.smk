"""The student: pre-trained for the embedded default, else a folder, file, hub revision or server.

Or it is the checkpoint of an arm, which the rule train makes.

register_model writes model.json and, since a failed check stops it, the passed checks of
preflight.json, which every rule that samples from the model or trains it asks for.
"""


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


rule unpack_student:
    output:
        checkpoint=directory("results/models/{model}/checkpoint"),
    log:
        "logs/models/{model}/student.log",
    benchmark:
        "logs/models/{model}/student.usage.tsv"
    wildcard_constraints:
        model=any_of(EMBEDDED_MODELS),
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        config=tracked_config("unpack_student"),
        code=source_digest("orion.demo.shipped"),
    shell:
        "python -m orion.demo.shipped --config {params.config:q} --output {output.checkpoint}"
        " 2> {log}"


rule dequantise:
    input:
        gguf_file,
    output:
        checkpoint=directory("results/models/{model}/checkpoint"),
    log:
        "logs/models/{model}/dequantise.log",
    benchmark:
        "logs/models/{model}/dequantise.usage.tsv"
    wildcard_constraints:
        model=any_of(GGUF_MODELS),
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        config=tracked_config("dequantise"),
        code=source_digest("orion.stages.dequantise"),
    shell:
        "python -m orion.stages.dequantise --config {params.config:q}"
        " --output {output.checkpoint} 2> {log}"


rule register_model:
    input:
        # a folder that the workflow made itself; empty for models from elsewhere
        checkpoint=[],
        # the document of an arm's checkpoint
        trained=[],
        files=keep_place(checkpoint_files),
        template=keep_place(template_files),
    output:
        model="results/models/{model}/model.json",
        preflight="results/models/{model}/preflight.json",
    log:
        "logs/models/{model}/model.log",
    benchmark:
        "logs/models/{model}/model.usage.tsv"
    wildcard_constraints:
        model=any_of(
            name
            for name in CONFIG.models
            if name not in DEMO_MODELS + EMBEDDED_MODELS + GGUF_MODELS + ARM_MODELS
        ),
    localrule: True
    conda:
        "../../envs/base.yaml"
    resources:
        token_limits=token_limits,
        lora=lora,
        optimizers=optimizers,
    params:
        config=tracked_config("model"),
        code=source_digest("orion.stages.model"),
    shell:
        "python -m orion.stages.model --config {params.config:q} --name {wildcards.model}"
        " --checkpoint {input.checkpoint} --trained {input.trained}"
        " --token-limits {resources.token_limits}"
        " --lora {resources.lora:q} --optimizers {resources.optimizers}"
        " --output-preflight {output.preflight}"
        " --output {output.model} 2> {log}"


use rule register_model as register_demo_model with:
    input:
        checkpoint=checkpoint_folder,
        trained=[],
        files=[],
        template=keep_place(template_files),
    wildcard_constraints:
        model=any_of(DEMO_MODELS + EMBEDDED_MODELS),


use rule register_demo_model as register_gguf_model with:
    wildcard_constraints:
        model=any_of(GGUF_MODELS),


use rule register_demo_model as register_arm_model with:
    input:
        checkpoint=of_source_arm("model"),
        trained=of_source_arm("model.json"),
        files=[],
        template=keep_place(template_files),
    wildcard_constraints:
        model=any_of(ARM_MODELS),
