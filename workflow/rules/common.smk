"""Shared by all rules: the configuration, tracked params, inputs that depend on the arm."""

import json

from orion import config as settings
from orion.provenance import source_digest

CONFIG = settings.validate(config)
settings.check_traces(CONFIG)
RUNS = CONFIG.runs
DEMO_MODELS = [
    name for name, model in CONFIG.models.items() if model.source.kind == "demo"
]
EMBEDDED_MODELS = [
    name for name, model in CONFIG.models.items() if model.source.kind == "embedded"
]
GGUF_MODELS = [
    name for name, model in CONFIG.models.items() if model.source.kind == "gguf"
]
ARM_MODELS = [
    name for name, model in CONFIG.models.items() if model.source.kind == "arm"
]
REFLECTING = [
    name for name, arm in CONFIG.arms.items() if arm.trained_on == "reflection"
]
NEEDING_ERRORS = [name for name, arm in CONFIG.arms.items() if arm.needs_errors]
SHAM = [name for name, arm in CONFIG.arms.items() if arm.error_source == "sham"]
READING_STEPS = [name for name in CONFIG.arms if settings.reads_steps(CONFIG, name)]
# arms that choose by how unexpected a text is to the student
EXPOSING_BY_SURPRISAL = [
    name for name in CONFIG.arms if settings.exposes_by_surprisal(CONFIG, name)
]
SELECTING_SAMPLES_BY_SURPRISAL, SELECTING_REFLECTIONS_BY_SURPRISAL = (
    [name for name in CONFIG.arms if settings.selects_by_surprisal(CONFIG, name, texts)]
    for texts in ("samples", "reflections")
)
WEIGHING_KEY_STEPS = [
    name for name in CONFIG.arms if settings.weighs_key_steps(CONFIG, name)
]
DATASETS_WITH_TEACHER = [
    name for name, dataset in CONFIG.datasets.items() if dataset.teacher is not None
]
JUDGED = [
    f"results/datasets/{dataset}/{model}/{arm}/judged/{against}/{benchmark}/judgements.parquet"
    for dataset in RUNS.datasets
    for model in RUNS.models
    for arm, against, benchmark in settings.list_judged(CONFIG, model)
]
TRAINED = [name for name, arm in CONFIG.arms.items() if arm.trained_on != "nothing"]
MATCHED = [name for name in TRAINED if settings.is_matched(CONFIG, name)]
UNMATCHED = [name for name in TRAINED if name not in MATCHED]


def place(path):
    """Where a path of this workflow is; as a module it may have a prefix, which moves it."""
    return workflow.modifier.path_modifier.replace_prefix(path)


def keep_place(files):
    """A function that lists files of the configuration: they lie where it says."""
    return files if place("data") == "data" else local(files)


# commands are texts, in which Snakemake moves nothing
COMPLETIONS = place("results/completions")
RESULTS = str(Path(COMPLETIONS).parent)
PLAN_DIGEST = settings.plan_digest(CONFIG)
# a resource of the rules that pay, so that another ceiling reruns nothing
CEILING = settings.tell_ceiling(CONFIG)


def any_of(names):
    """A wildcard constraint that matches these names and nothing else."""
    return "|".join(map(re.escape, names)) or "(?!)"


def tracked_config(stage):
    """The keys that can change a job's output, as the one string that Snakemake tracks."""
    return lambda wildcards: settings.params(CONFIG, stage, **dict(wildcards.items()))


def evaluated_model(wildcards):
    """The document of the evaluated model: trained, or for an untrained arm the student."""
    trained = wildcards.arm in TRAINED
    pattern = (
        "results/datasets/{dataset}/{model}/{arm}/seed-{seed}/model.json"
        if trained
        else "results/models/{model}/model.json"
    )
    return pattern.format(**dict(wildcards.items()))


def if_sampling(name):
    """A file of the student's folder where the arm trains on what the student answers."""

    def student_file(wildcards):
        folder = "results/datasets/{dataset}/{model}".format(**dict(wildcards.items()))
        sampling = settings.needs_samples(CONFIG, wildcards.arm)
        return [f"{folder}/{name}"] if sampling else []

    return student_file


def if_among(arms, path):
    """A file where the arm is among these, nothing otherwise."""

    def arm_file(wildcards):
        among = wildcards.arm in arms
        return [path.format(**dict(wildcards.items()))] if among else []

    return arm_file


def matched_rows(wildcards):
    """The rows before matching of the arms that an arm is matched with."""
    folder = "results/datasets/{0.dataset}/{0.model}".format(wildcards)
    arms = settings.list_matched_arms(CONFIG, wildcards.arm)
    below = {arm: "unmatched/" if arm in MATCHED else "" for arm in arms}
    return [f"{folder}/{arm}/{below[arm]}train.parquet" for arm in arms]


def if_budget(path):
    """A file where an arm is cut to another one's trained tokens, `{budget}` in the path."""

    def budget_file(wildcards):
        budget = settings.find_match(CONFIG, wildcards.arm).tokens
        return [path.format(**dict(wildcards.items()), budget=budget)] if budget else []

    return budget_file


def if_counting_tokens(path):
    """A file where an arm's rows are counted in tokens to match them."""

    def counting_file(wildcards):
        match = settings.find_match(CONFIG, wildcards.arm)
        counted = match.tokens or match.fewest_tokens
        return [path.format(**dict(wildcards.items()))] if counted else []

    return counting_file


def problems_with_traces(wildcards):
    """The problems with their teacher traces: a separate file where the teacher was sampled."""
    sampled = wildcards.dataset in DATASETS_WITH_TEACHER
    name = "problems_with_traces" if sampled else "problems"
    return f"results/datasets/{wildcards.dataset}/{name}.parquet"


def teacher_file(name):
    """A file of the dataset's teacher, which is a model like any other."""
    return lambda wildcards: (
        f"results/datasets/{wildcards.dataset}/{CONFIG.datasets[wildcards.dataset].teacher}/{name}"
    )


def writer(wildcards):
    """The model that writes an arm's reflections: the student, or another entry of models."""
    return settings.find_writer(CONFIG, wildcards.arm, wildcards.model)


def of_writer(name):
    """A file of the model that writes an arm's reflections."""
    return lambda wildcards: f"results/models/{writer(wildcards)}/{name}"


def generation_by(asked):
    """Options of a generating rule that asks another model than the student's own."""
    keys = ("base_url", "api_key_env", "headers", "query")
    return {**GENERATION, **{key: server(key, asked) for key in keys}}


def judge(wildcards):
    """The model that judges answers."""
    return CONFIG.report.judge.model


def of_judge(name):
    """A file of the model that judges answers."""
    return lambda wildcards: f"results/models/{judge(wildcards)}/{name}"


def of_exposed(name):
    """A file of the model whose errors an arm exposes: the student, or another entry of models."""

    def exposed_file(wildcards):
        model = settings.find_exposed(CONFIG, wildcards.arm, wildcards.model)
        return f"results/datasets/{wildcards.dataset}/{model}/{name}"

    return exposed_file


def server(key, asked=lambda wildcards: wildcards.model):
    """A key of the model's server; a resource, so that a server that moves triggers no rerun."""

    def read(wildcards):
        value = getattr(CONFIG.models[asked(wildcards)].server, key, None) or ""
        return json.dumps(value) if isinstance(value, dict) else value

    return read


def token_limits(wildcards):
    """The stages' token limits on a model; a resource, since they can refuse it, not change it."""
    limits = settings.list_token_limits(CONFIG, wildcards.model)
    return " ".join(f"{key}={tokens}" for key, tokens in limits.items())


def lora(wildcards):
    """The adapters that the run trains on a model; a resource, as the limits are."""
    return json.dumps(settings.list_lora(CONFIG, wildcards.model), sort_keys=True)


def optimizers(wildcards):
    """The optimisers of the run's trainings; a resource, as the limits are."""
    chosen = settings.list_optimizers(CONFIG, wildcards.model)
    return " ".join(f"{key}={name}" for key, name in sorted(chosen.items()))


def plan_if_evaluating(wildcards):
    """The digest of the run's plan for jobs on a benchmark; a resource, so it reruns nothing."""
    return PLAN_DIGEST if "benchmark" in wildcards.keys() else ""


def environment(*engines):
    """The conda definition of a generating rule; vLLM needs its own."""
    return f"../../envs/{'vllm' if 'vllm' in engines else 'base'}.yaml"


# Options of a generating rule; they affect placement and speed only. On a GPU the last bits of a
# result may depend on them. Changing one must not trigger a rerun, so they are resources.
GENERATION = dict(
    completions=COMPLETIONS,
    ceiling=CEILING,
    shards=1,
    tensor_parallel_size=1,
    # an integer, because Snakemake rounds other numbers of a profile
    gpu_memory_percent=90,
    batch_invariant=0,
    token_budget=0,
    base_url=server("base_url"),
    api_key_env=server("api_key_env"),
    headers=server("headers"),
    query=server("query"),
    python="python",
    runtime="8h",
    mem_mb=4000,
)


def source_files(block):
    """The files that a problem set is read from, local or fetched.

    The digests of their bytes are in params.config, so their time stamps must not count; this is
    the one use of `ancient`. A fetched file is named by its digest, so that nothing is hidden.
    """
    return [ancient(path) for path in settings.local_files(block)]


def dataset_files(wildcards):
    return source_files(CONFIG.datasets[wildcards.dataset])


def benchmark_files(wildcards):
    return source_files(CONFIG.benchmarks[wildcards.benchmark])


def source_url(wildcards):
    """Where a file is fetched from; a resource, since its digest says what it is."""
    return CONFIG.sources[wildcards.source].url


def gguf_file(wildcards):
    return CONFIG.models[wildcards.model].source.path


def checkpoint_folder(wildcards):
    """The folder that the workflow made, perhaps for another entry that is the same model."""
    return f"results/models/{CONFIG.origin(wildcards.model)}/checkpoint"


def of_source_arm(name):
    """A file of the training that a model of the kind arm comes from."""

    def arm_file(wildcards):
        source = CONFIG.models[wildcards.model].source
        folder = "results/datasets/{0.dataset}/{0.model}/{0.arm}/seed-{0.seed}"
        return f"{folder.format(source)}/{name}"

    return arm_file


def checkpoint_files(wildcards):
    return settings.checkpoint_files(CONFIG.models[wildcards.model])


def template_files(wildcards):
    template = CONFIG.models[wildcards.model].chat_template
    return [template] if template else []


wildcard_constraints:
    source=any_of(CONFIG.sources),
    dataset=any_of(CONFIG.datasets),
    benchmark=any_of(CONFIG.benchmarks),
    model=any_of(CONFIG.models),
    arm=any_of(CONFIG.arms),
    against=any_of(CONFIG.arms),
    seed=r"\d+",
