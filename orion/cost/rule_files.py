"""What each rule writes that tells its cost: its usage file, and an artifact with its record.

The rules in ``workflow/rules/`` repeat the templates of the usage files, because Snakemake reads
its patterns as literal texts; ``tests/orion/cost/test_rule_files.py`` compares the two.
"""

from dataclasses import dataclass

from orion import paths
from orion.report.rules import (
    JUDGEMENTS,
    REFLECTION_SURPRISAL,
    SAMPLE_SURPRISAL,
    SECOND_VERDICTS,
    SURPRISE,
)

_DATASET = "datasets/{dataset}"
_STUDENT = _DATASET + "/{model}"
_ARM = _STUDENT + "/{arm}"
_RUN = _ARM + "/seed-{seed}"
_EVALUATION = _RUN + "/{benchmark}"
_USAGE = ".usage.tsv"


@dataclass(frozen=True)
class RuleFiles:
    """The files of a rule, and what its time follows.

    ``stage``: the name of its keys in ``orion.config.stages``. ``usage``: its usage file below
    ``logs/``. ``artifact``: a file below ``results/`` whose record has the keys it was made with;
    None where it writes no such file. ``work``: ``tokens`` that are generated, ``texts`` that are
    checked, training ``steps``, or ``jobs``.
    """

    stage: str
    usage: str
    artifact: str | None = None
    work: str = "jobs"


_MODEL = RuleFiles("model", "models/{model}/model" + _USAGE, paths.MODEL)
RULES = {
    "plan": RuleFiles("plan", "plan" + _USAGE),
    "fetch": RuleFiles("fetch", "sources/{source}" + _USAGE),
    "dataset": RuleFiles("dataset", _DATASET + "/problems" + _USAGE, paths.PROBLEMS),
    "benchmark": RuleFiles(
        "benchmark", "benchmarks/{benchmark}/problems" + _USAGE, paths.BENCHMARK_PROBLEMS
    ),
    "lint_dataset": RuleFiles("lint", _DATASET + "/lint" + _USAGE, paths.LINT),
    "lint_benchmark": RuleFiles(
        "lint", "benchmarks/{benchmark}/lint" + _USAGE, paths.BENCHMARK_LINT
    ),
    "trace": RuleFiles(
        "trace", _DATASET + "/problems_with_traces" + _USAGE, paths.PROBLEMS_WITH_TRACES
    ),
    "student": RuleFiles("student", "models/{model}/student" + _USAGE),
    "unpack_student": RuleFiles("unpack_student", "models/{model}/student" + _USAGE),
    "dequantise": RuleFiles("dequantise", "models/{model}/dequantise" + _USAGE),
    "register_model": _MODEL,
    "register_demo_model": _MODEL,
    "register_gguf_model": _MODEL,
    "register_arm_model": _MODEL,
    "sample": RuleFiles("sample", _STUDENT + "/samples" + _USAGE, paths.SAMPLES, "tokens"),
    "check": RuleFiles("check", _STUDENT + "/verdicts" + _USAGE, paths.VERDICTS, "texts"),
    "check_traces": RuleFiles(
        "check_traces", _DATASET + "/trace_verdicts" + _USAGE, paths.TRACE_VERDICTS
    ),
    "expose": RuleFiles("expose", _ARM + "/errors" + _USAGE, paths.ERRORS),
    "reflect": RuleFiles("reflect", _ARM + "/reflections" + _USAGE, paths.REFLECTIONS, "tokens"),
    "check_reflections": RuleFiles(
        "check_reflections",
        _ARM + "/reflection_verdicts" + _USAGE,
        paths.REFLECTION_VERDICTS,
        "texts",
    ),
    "sample_surprisal": RuleFiles(
        "sample_surprisal", _STUDENT + "/sample_surprisal" + _USAGE, SAMPLE_SURPRISAL, "texts"
    ),
    "reflection_surprisal": RuleFiles(
        "reflection_surprisal",
        _ARM + "/reflection_surprisal" + _USAGE,
        REFLECTION_SURPRISAL,
        "texts",
    ),
    "select": RuleFiles("select", _ARM + "/train" + _USAGE, paths.TRAIN),
    "select_unmatched": RuleFiles(
        "select", _ARM + "/unmatched/train" + _USAGE, paths.UNMATCHED_TRAIN
    ),
    "match": RuleFiles("match", _ARM + "/train" + _USAGE, paths.TRAIN),
    "pack": RuleFiles("pack", _ARM + "/packed" + _USAGE, paths.PACKED),
    "surprise": RuleFiles("surprise", _ARM + "/surprise" + _USAGE, SURPRISE),
    "train": RuleFiles("train", _RUN + "/train" + _USAGE, paths.TRAINED_MODEL, "steps"),
    "evaluate_sample": RuleFiles(
        "evaluate_sample", _EVALUATION + "/samples" + _USAGE, paths.EVALUATION_SAMPLES, "tokens"
    ),
    "evaluate_check": RuleFiles(
        "evaluate_check", _EVALUATION + "/verdicts" + _USAGE, paths.EVALUATION_VERDICTS, "texts"
    ),
    "evaluate_recheck": RuleFiles(
        "evaluate_recheck",
        _EVALUATION + "/second" + _USAGE,
        SECOND_VERDICTS,
        "texts",
    ),
    "evaluate": RuleFiles("evaluate", _EVALUATION + "/scores" + _USAGE, paths.SCORES),
    "judge": RuleFiles(
        "judge", _ARM + "/judged/{against}/{benchmark}/judgements" + _USAGE, JUDGEMENTS, "tokens"
    ),
    "report": RuleFiles("report", "report/report" + _USAGE),
}
# rules that load the model or its tokenizer: the rate of another model says nothing about them
OF_ONE_MODEL = frozenset(
    {
        "student",
        "unpack_student",
        "dequantise",
        "register_model",
        "register_demo_model",
        "register_gguf_model",
        "register_arm_model",
        "sample",
        "reflect",
        "pack",
        "sample_surprisal",
        "reflection_surprisal",
        "surprise",
        "train",
        "evaluate_sample",
    }
)
# the rule whose completions a rule checks
CHECKED = {
    "check": "sample",
    "check_reflections": "reflect",
    "sample_surprisal": "sample",
    "reflection_surprisal": "reflect",
    "evaluate_check": "evaluate_sample",
    "evaluate_recheck": "evaluate_sample",
}
