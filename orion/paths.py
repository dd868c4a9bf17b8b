"""Where files are: the artifacts of ``results/`` and the files of a checkpoint folder.

An artifact lives in the shallowest folder whose wildcards determine it.
"""

import os
from pathlib import Path

# the files of a checkpoint folder that decide what the model answers; README, licence and images do not
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


def model(root: str | Path, model: str) -> Path:
    """The document (model.json) of an untrained model."""
    return Path(root) / "models" / model / "model.json"


def benchmark(root: str | Path, benchmark: str, file: str) -> Path:
    """problems.parquet, rejected.parquet, lint.json of a benchmark."""
    return Path(root) / "benchmarks" / benchmark / file


def dataset(root: str | Path, dataset: str, file: str) -> Path:
    """problems.parquet, rejected.parquet, lint.json, trace_verdicts.parquet of a training set."""
    return Path(root) / "datasets" / dataset / file


def problems_with_traces(root: str | Path, dataset: str, *, teacher_sampled: bool) -> Path:
    """The problems with their teacher traces: a separate file where the teacher was sampled."""
    name = "problems_with_traces" if teacher_sampled else "problems"
    return Path(root) / "datasets" / dataset / f"{name}.parquet"


def student(root: str | Path, dataset: str, model: str, file: str) -> Path:
    """samples.parquet and verdicts.parquet, which all arms share."""
    return Path(root) / "datasets" / dataset / model / file


def arm(root: str | Path, dataset: str, model: str, arm: str, file: str) -> Path:
    """errors, reflections, reflection_verdicts, train (parquet), filters.json, packed/."""
    return Path(root) / "datasets" / dataset / model / arm / file


def run(root: str | Path, dataset: str, model: str, arm: str, seed: int | str, file: str) -> Path:
    """model.json and train_log.jsonl of one training run."""
    return Path(root) / "datasets" / dataset / model / arm / f"seed-{seed}" / file


def evaluation(
    root: str | Path,
    dataset: str,
    model: str,
    arm: str,
    seed: int | str,
    benchmark: str,
    file: str,
) -> Path:
    """samples.parquet, verdicts.parquet, scores.json of one training run on one benchmark."""
    return run(root, dataset, model, arm, seed, benchmark) / file


def relative_to_cwd(folder: Path) -> str:
    """The folder relative to the working directory where it is below it, else as given.

    Documents and tables then hold no path of one machine.
    """
    absolute = folder.absolute()
    if absolute.is_relative_to(Path.cwd()):
        return str(absolute.relative_to(Path.cwd()))
    return str(folder)


class AtomicFile:
    """Context manager: yields a hidden sibling path; renames it to ``path`` if the block succeeds.

    A reader never meets half a file, and a failed block leaves nothing.
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
