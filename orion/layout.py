"""The path law as functions: an artifact lives in the shallowest folder whose wildcards determine it.

Input: the results folder, wildcards, a file name. Output: paths. Nothing is read or made here.
"""

from pathlib import Path


def model(root: str | Path, model: str) -> Path:
    """The resolved checkpoint of a student."""
    return Path(root) / "models" / model / "model.json"


def benchmark(root: str | Path, benchmark: str, file: str) -> Path:
    """problems.parquet, rejected.parquet, lint.json of a benchmark."""
    return Path(root) / "benchmarks" / benchmark / file


def dataset(root: str | Path, dataset: str, file: str) -> Path:
    """problems.parquet, rejected.parquet, lint.json of a training set."""
    return Path(root) / dataset / file


def traced(root: str | Path, dataset: str, *, sampled: bool) -> Path:
    """The problems with their teacher's traces: a file of its own where the teacher was sampled."""
    return Path(root) / dataset / ("traced.parquet" if sampled else "problems.parquet")


def student(root: str | Path, dataset: str, model: str, file: str) -> Path:
    """samples.parquet, verdicts.parquet: shared by all arms."""
    return Path(root) / dataset / model / file


def arm(root: str | Path, dataset: str, model: str, arm: str, file: str) -> Path:
    """errors, reflections, reflection_verdicts, train (parquet), filters.json, packed/train.parquet, packed/stats.json."""
    return Path(root) / dataset / model / arm / file


def run(root: str | Path, dataset: str, model: str, arm: str, seed: int | str, file: str) -> Path:
    """model.json, train_log.jsonl of one training run."""
    return Path(root) / dataset / model / arm / f"seed-{seed}" / file


def evaluation(
    root: str | Path, dataset: str, model: str, arm: str, seed: int | str, benchmark: str, file: str
) -> Path:
    """samples.parquet, verdicts.parquet, scores.json of one training run on one benchmark."""
    return Path(root) / dataset / model / arm / f"seed-{seed}" / benchmark / file
