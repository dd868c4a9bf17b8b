"""The student: trained from scratch for the embedded default, otherwise resolved from a folder or a hub revision."""


rule student:
    output:
        checkpoint=directory("results/models/{model}/checkpoint"),
    log:
        "logs/models/{model}/student.log",
    benchmark:
        "logs/models/{model}/student.usage.tsv"
    wildcard_constraints:
        model=one_of(DEMO_MODELS),
    conda:
        "../../envs/base.yaml"
    threads: 2
    resources:
        runtime="1h",
        mem_mb=4000,
    params:
        config=keys("student"),
        code=source_digest("orion.demo.student"),
    shell:
        "python -m orion.demo.student --config {params.config:q} --output {output.checkpoint} 2> {log}"


rule model_made:
    input:
        checkpoint="results/models/{model}/checkpoint",
        template=template_files,
    output:
        "results/models/{model}/model.json",
    log:
        "logs/models/{model}/model.log",
    benchmark:
        "logs/models/{model}/model.usage.tsv"
    wildcard_constraints:
        model=one_of(DEMO_MODELS),
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        config=keys("model"),
        code=source_digest("orion.model"),
    shell:
        "python -m orion.model --config {params.config:q} --name {wildcards.model}"
        " --checkpoint {input.checkpoint} --output {output} 2> {log}"


rule model_found:
    input:
        files=checkpoint_files,
        template=template_files,
    output:
        "results/models/{model}/model.json",
    log:
        "logs/models/{model}/model.log",
    benchmark:
        "logs/models/{model}/model.usage.tsv"
    wildcard_constraints:
        model=one_of(name for name in CONFIG.models if name not in DEMO_MODELS),
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        config=keys("model"),
        code=source_digest("orion.model"),
    shell:
        "python -m orion.model --config {params.config:q} --name {wildcards.model} --output {output} 2> {log}"
