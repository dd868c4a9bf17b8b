"""Wiring shared by all rules: the validated configuration, tracked params, inputs that depend on the arm."""

from orion import config as settings
from orion.provenance import source_digest

CONFIG = settings.validate(config)
RUNS = CONFIG.runs
DEMO_MODELS = [
    name for name, model in CONFIG.models.items() if model.source.kind == "demo"
]
REFLECTING = [
    name for name, arm in CONFIG.arms.items() if arm.trained_on == "reflection"
]
TAUGHT = [
    name for name, dataset in CONFIG.datasets.items() if dataset.teacher is not None
]
TRAINED = [name for name, arm in CONFIG.arms.items() if arm.trained_on != "nothing"]


def one_of(names):
    """A wildcard constraint that matches these names and nothing else."""
    return "|".join(map(re.escape, names)) or "(?!)"


def keys(stage):
    """The configuration keys that can change a job's output, as the one string that Snakemake tracks."""
    return lambda wildcards: settings.params(CONFIG, stage, **dict(wildcards.items()))


def model_of(wildcards):
    """The model document that a seed's evaluation samples from: the fine-tuned one, or for an untrained arm the student."""
    trained = wildcards.arm in TRAINED
    pattern = (
        "results/{dataset}/{model}/{arm}/seed-{seed}/model.json"
        if trained
        else "results/models/{model}/model.json"
    )
    return pattern.format(**dict(wildcards.items()))


def if_reflecting(name):
    """A file of the arm's folder where the arm trains on reflections, nothing otherwise."""

    def found(wildcards):
        folder = "results/{dataset}/{model}/{arm}".format(**dict(wildcards.items()))
        return [f"{folder}/{name}"] if wildcards.arm in REFLECTING else []

    return found


def traced(wildcards):
    """The problems with their teacher's traces: a file of its own where the teacher was sampled."""
    name = "traced" if wildcards.dataset in TAUGHT else "problems"
    return f"results/{wildcards.dataset}/{name}.parquet"


def of_teacher(name):
    """A file of the dataset's teacher, which is just another model."""
    return lambda wildcards: (
        f"results/{wildcards.dataset}/{CONFIG.datasets[wildcards.dataset].teacher}/{name}"
    )


def server(key):
    """Where the engine openai finds a model. A resource: a server that moves is no reason to run anything again."""
    return (
        lambda wildcards: getattr(CONFIG.models[wildcards.model].server, key, None)
        or ""
    )


def environment(*engines):
    """The conda definition where text is generated; vLLM brings its own."""
    return f"../../envs/{'vllm' if 'vllm' in engines else 'base'}.yaml"


def dataset_files(wildcards):
    return settings.local_files(CONFIG.datasets[wildcards.dataset])


def benchmark_files(wildcards):
    return settings.local_files(CONFIG.benchmarks[wildcards.benchmark])


def checkpoint_files(wildcards):
    return settings.checkpoint_files(CONFIG.models[wildcards.model])


def template_files(wildcards):
    template = CONFIG.models[wildcards.model].chat_template
    return [template] if template else []


wildcard_constraints:
    dataset=one_of(CONFIG.datasets),
    benchmark=one_of(CONFIG.benchmarks),
    model=one_of(CONFIG.models),
    arm=one_of(CONFIG.arms),
    seed=r"\d+",
