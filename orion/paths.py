"""Where files are: the artifacts of ``results/`` and the files of a checkpoint folder."""

import os
from pathlib import Path
from string import Formatter

# the files of a checkpoint folder that change what the model answers (README and images do not)
WEIGHT_FILES = "*.safetensors"
CONFIG_FILES = ("config.json", "generation_config.json", "*.safetensors.index.json")
VOCABULARY_FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model", "*.tiktoken")
TOKENIZER_FILES = (
    *VOCABULARY_FILES,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
CODE_FILES = "*.py"
# vocabularies of older tokenizers, which are read where there is no tokenizer.json
OLD_VOCABULARY_FILES = ("*.spm", "*.codes", "vocab.bpe", "tekken.json", "emoji.json")
ADAPTER_CONFIG = "adapter_config.json"


# Path templates of the artifacts, below the results folder. The rules in workflow/rules/ repeat
# them, because Snakemake reads its patterns as literal texts; tests/orion/report/test_lineage.py
# compares the two. An artifact is in the shallowest folder whose wildcards determine it.
_BENCHMARK = "benchmarks/{benchmark}"
_DATASET = "datasets/{dataset}"
_STUDENT = _DATASET + "/{model}"
_ARM = _STUDENT + "/{arm}"
_RUN = _ARM + "/seed-{seed}"
_EVALUATION = _RUN + "/{benchmark}"

PLAN = "plan.json"
MODEL = "models/{model}/model.json"
PREFLIGHT = "models/{model}/preflight.json"
BENCHMARK_PROBLEMS = _BENCHMARK + "/problems.parquet"
BENCHMARK_REJECTED = _BENCHMARK + "/rejected.parquet"
BENCHMARK_LINT = _BENCHMARK + "/lint.json"
PROBLEMS = _DATASET + "/problems.parquet"
REJECTED = _DATASET + "/rejected.parquet"
LINT = _DATASET + "/lint.json"
# only where the traces are sampled from a teacher; elsewhere PROBLEMS has them
PROBLEMS_WITH_TRACES = _DATASET + "/problems_with_traces.parquet"
TRACE_VERDICTS = _DATASET + "/trace_verdicts.parquet"
TRACE_STEPS = _DATASET + "/trace_steps.parquet"
SAMPLES = _STUDENT + "/samples.parquet"
VERDICTS = _STUDENT + "/verdicts.parquet"
STEPS = _STUDENT + "/steps.parquet"
ERRORS = _ARM + "/errors.parquet"
REFLECTIONS = _ARM + "/reflections.parquet"
REFLECTION_VERDICTS = _ARM + "/reflection_verdicts.parquet"
REFLECTION_STEPS = _ARM + "/reflection_steps.parquet"
# of an arm that is matched with others, before it is
UNMATCHED_TRAIN = _ARM + "/unmatched/train.parquet"
UNMATCHED_FILTERS = _ARM + "/unmatched/filters.json"
UNMATCHED_PREVIEW = _ARM + "/unmatched/preview.jsonl"
TRAIN = _ARM + "/train.parquet"
FILTERS = _ARM + "/filters.json"
PREVIEW = _ARM + "/preview.jsonl"
PACKED = _ARM + "/packed/train.parquet"
PACKED_STATS = _ARM + "/packed/stats.json"
TRAINED_MODEL = _RUN + "/model.json"
TRAIN_LOG = _RUN + "/train_log.jsonl"
EVALUATION_SAMPLES = _EVALUATION + "/samples.parquet"
EVALUATION_VERDICTS = _EVALUATION + "/verdicts.parquet"
EVALUATION_STEPS = _EVALUATION + "/steps.parquet"
SCORES = _EVALUATION + "/scores.json"


def artifact(root: str | Path, template: str, **wildcards: str | int) -> Path:
    """The path of one artifact; wildcards that the template does not name are ignored."""
    return Path(root) / template.format(**wildcards)


def wildcard_names(template: str) -> list[str]:
    """The wildcards of a path template in their order, e.g. ``["dataset", "model"]``."""
    return [name for _, name, _, _ in Formatter().parse(template) if name]


def relative_to_cwd(folder: Path) -> str:
    """The folder relative to the working directory where it is below it, else as given.

    So documents and tables hold no path of one machine.
    """
    absolute = folder.absolute()
    if absolute.is_relative_to(Path.cwd()):
        return str(absolute.relative_to(Path.cwd()))
    return str(folder)


class AtomicFile:
    """Context manager: yields a hidden sibling path; renames it to ``path`` if the block succeeds.

    A reader never sees half a file, and a failed block leaves none.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.partial = partial_path(self.path)

    def __enter__(self) -> Path:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self.partial

    def __exit__(self, kind, value, traceback) -> None:
        if kind is None:
            with open(self.partial, "rb") as handle:
                os.fsync(handle.fileno())
            os.replace(self.partial, self.path)
        else:
            self.partial.unlink(missing_ok=True)


def partial_path(path: Path) -> Path:
    """The hidden sibling in which a file or folder is written before it is renamed to ``path``."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")
