"""Select an arm's training rows: reflections, samples, traces or solutions → train, filters.json.

Reflections and own samples pass the named filters; the oracle's texts are true as they are made.
Problems without a wrong sample, or without a text that passes, follow the arm's explicit fallbacks.
``filters.json`` holds the waterfall, and ``preview.jsonl`` the first rows for reading.
Run: ``python -m orion.stages.select --config JSON --arm NAME --problems P --trace-verdicts T
--trace-steps A [--samples S --verdicts V --steps B [--errors E [--reflections R
--reflection-verdicts W --reflection-steps C]]] [--sample-surprisal N --reflection-surprisal M]
--output O --filters F --preview J``. Arms on solutions or traces need no samples.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import polars as pl

from orion import prompts, provenance, tables
from orion.data.golds import suggest_rule
from orion.errors import InputError
from orion.experiment import filters
from orion.experiment.candidates import (
    FIRST,
    KEY,
    Candidates,
    Objections,
    Row,
)
from orion.experiment.degenerate import MIN_ROWS
from orion.experiment.filters import (
    COPY_FRACTION,
    COPY_NGRAM,
    LOOP_NGRAM,
    LOOP_REPEATS,
    Limits,
)
from orion.experiment.mixing import Mix, mix_traces
from orion.experiment.pairs import ERROR_PAIRS, PairKeys, Pairs
from orion.experiment.refinements import Refinements
from orion.experiment.reflected import Reflections
from orion.experiment.select_inputs import OPTIONAL, REQUIRED, Inputs, read_inputs
from orion.experiment.selected import (
    UNCHECKED,
    count_rows,
    explain_too_few,
    waterfall,
    write_selected,
)
from orion.experiment.self_correction import Corrections, SelfCorrection
from orion.experiment.surprise import PREFERENCES
from orion.progress import log
from orion.prompts import PromptSet
from orion.stages import command

# kinds of arms that need what the student answered, and those that need its errors too
OWN_TEXTS = ("own_correct", UNCHECKED, ERROR_PAIRS, "reflection", "oracle")
ON_ERRORS = ("reflection", "oracle")


@dataclass(frozen=True)
class SelectConfig:
    """The configuration keys of the stage.

    ``prompts``: a prompt set's blocks, or its name. ``max_per_problem``: training rows per problem.
    ``min_rows``: fewer are an error. ``drop_false_traces``: whether teacher traces with a false
    step are not trained on. ``errors_per_prompt``: wrong attempts that one text of the oracle
    corrects. ``prefer``: which of a problem's texts come first. ``mix``: teacher traces among the
    rows. ``pairs``: whose right texts an arm on pairs has. ``self_correction``: how each refined
    chain is opened with the wrong attempt behind it.
    """

    prompts: PromptSet | str
    trained_on: str
    filters: list[str]
    max_per_problem: int
    fallback_no_error: str
    fallback_all_filtered: str
    copy_ngram: int = COPY_NGRAM
    copy_fraction: float = COPY_FRACTION
    loop_ngram: int = LOOP_NGRAM
    loop_repeats: int = LOOP_REPEATS
    max_tokens: int | None = None
    drop_false_traces: bool = False
    min_rows: int = MIN_ROWS
    errors_per_prompt: int = 1
    prefer: str = FIRST
    mix: Mix | None = None
    self_correction: SelfCorrection | None = None
    pairs: PairKeys | None = None

    @property
    def limits(self) -> Limits:
        """The thresholds of the filters."""
        return Limits(
            prompt_set=self.prompts,
            max_tokens=self.max_tokens,
            copy_ngram=self.copy_ngram,
            copy_fraction=self.copy_fraction,
            loop_ngram=self.loop_ngram,
            loop_repeats=self.loop_repeats,
        )


class Chooser:
    """The targets of a problem by the arm's rule and fallbacks.

    ``with_error``: the problems with a wrong sample. ``fallbacks``: how often each was used so far;
    empty for arms that need no errors.
    """

    def __init__(
        self,
        candidates: Candidates,
        config: SelectConfig,
        reflections: Reflections,
        refinements: Refinements | None,
        pairs: Pairs | None,
        with_error: set[str],
    ):
        self.candidates, self.config = candidates, config
        self.reflections, self.refinements, self.pairs = reflections, refinements, pairs
        self.with_error = with_error
        policies = {
            "fallback_no_error": config.fallback_no_error,
            "fallback_all_filtered": config.fallback_all_filtered,
        }
        self.fallbacks: dict[str, Row] = {
            case: {"policy": policy, "problems": 0}
            for case, policy in policies.items()
            if config.trained_on in ON_ERRORS
        }

    def count_without_error(self, exposed: set[str]) -> int:
        """The problems with a wrong sample for which no error was exposed."""
        return len(self.with_error - exposed) if self.fallbacks else 0

    def choose(self, problem_id: str) -> list[Row]:
        """The problem's targets; call it once for each problem."""
        rules: dict[str, Callable[[str], list[Row]]] = {
            "solution": lambda p: self.candidates.solution(p, self.config.prompts),
            "teacher_trace": self.candidates.teacher,
            "own_correct": self.candidates.own_correct,
            "own_sample": self.candidates.own_sample,
            "reflection": lambda p: self._or_fallback(p, self.reflections.targets(p, "reflect")),
            "oracle": self._choose_refinements,
            ERROR_PAIRS: self._choose_pairs,
        }
        return rules[self.config.trained_on](problem_id)

    def _choose_refinements(self, problem_id: str) -> list[Row]:
        assert self.refinements is not None, "made for arms on the oracle's texts"
        return self._or_fallback(problem_id, self.refinements.targets(problem_id))

    def _choose_pairs(self, problem_id: str) -> list[Row]:
        assert self.pairs is not None, "made for arms on pairs"
        return self.pairs.targets(problem_id)

    def _or_fallback(self, problem_id: str, targets: list[Row]) -> list[Row]:
        fallbacks: dict[str, Callable[[str], list[Row]]] = {
            "teacher": self.candidates.teacher,
            "own_correct": self.candidates.own_correct,
            "rewrite": lambda p: self.reflections.targets(p, "rewrite"),
            "drop": lambda p: [],
        }
        if not targets:
            case = "fallback_all_filtered" if problem_id in self.with_error else "fallback_no_error"
            self.fallbacks[case]["problems"] += 1
            targets = fallbacks[self.fallbacks[case]["policy"]](problem_id)
        return targets[: self.config.max_per_problem]


def train_table(
    choose: Callable[[str], list[Row]], candidates: Candidates, prompt_set: PromptSet | str
) -> pl.DataFrame:
    """The train table, its rows numbered within each problem; ``choose``: problem → its targets."""
    frames, rows = [tables.empty(tables.TRAIN)], []
    for problem_id in candidates.problems:
        found = choose(problem_id)
        prompt = prompts.solve(prompt_set, candidates.problems[problem_id]["problem"])
        rows += [
            {**target, "problem_id": problem_id, "row": n, "prompt": prompt}
            for n, target in enumerate(found)
        ]
        if len(rows) >= tables.ROW_GROUP:
            frames.append(tables.from_rows(rows, tables.TRAIN))
            rows = []
    return pl.concat([*frames, tables.from_rows(rows, tables.TRAIN)])


def choose_rows(
    chooser: Chooser, candidates: Candidates, config: SelectConfig
) -> tuple[pl.DataFrame, Row]:
    """The train table, and what filters.json says about the traces that are mixed in, if any."""
    train = train_table(chooser.choose, candidates, config.prompts)
    if config.mix is None:
        return train, {}
    traces = train_table(candidates.teacher, candidates, config.prompts)
    mixed, counts = mix_traces(train, traces, config.mix)
    return mixed, {"mix": counts}


def make_corrections(
    inputs: Inputs, files: dict[str, str], config: SelectConfig
) -> Corrections | None:
    """What opens the texts of an arm of that form; None for the other arms."""
    if config.self_correction is None:
        return None
    steps = tables.read(files["steps"], tables.STEPS, [*KEY, "first_false"])
    form = config.self_correction
    return Corrections(form, inputs.samples, inputs.errors, steps, config.prompts)


def make_candidates(inputs: Inputs, config: SelectConfig, *, unchecked: bool) -> Candidates:
    """The texts of the arm by problem; ``unchecked``: own samples whatever their answers."""
    golds = inputs.problems.select("problem_id", "answer")
    return Candidates(
        inputs.problems,
        inputs.samples,
        names=config.filters,
        limits=config.limits,
        max_per_problem=config.max_per_problem,
        false_traces=inputs.false_traces if config.drop_false_traces else (),
        long_golds=(p for p, a in golds.iter_rows() if suggest_rule(a)),
        prefer=config.prefer,
        unchecked=unchecked,
    )


def make_pairs(inputs: Inputs, candidates: Candidates, config: SelectConfig) -> Pairs | None:
    """The pairs of an arm on them; None for the other arms."""
    if config.trained_on != ERROR_PAIRS:
        return None
    wrong = replace(inputs, samples=inputs.samples.filter(pl.col("verdict") == "incorrect"))
    return Pairs(
        candidates, make_candidates(wrong, config, unchecked=True), config.pairs or PairKeys()
    )


def summarise(
    inputs: Inputs, candidates: Candidates, objections: Objections, names: list[str]
) -> Row:
    """The part of filters.json that says what there was and what each filter removed."""
    wrong = inputs.samples.filter(pl.col("verdict") == "incorrect")
    steps, coverage = waterfall(objections, names)
    own_steps, own_coverage = waterfall(candidates.objections, candidates.names)
    own_samples = {
        "with_wrong_sample": wrong["problem_id"].n_unique(),
        "own_samples": {
            "samples": len(candidates.objections),
            "waterfall": own_steps,
            "coverage": own_coverage,
        },
    }
    return {
        "problems": inputs.problems.height,
        "reflections": len(objections),
        "waterfall": steps,
        "coverage": coverage,
        # an arm that needs no samples says nothing about them
        **(own_samples if inputs.samples.height else {}),
        "teacher_traces": {
            "candidates": inputs.problems["trace_candidates"].sum(),
            "correct": inputs.problems["teacher_trace"].count(),
            "not_first": inputs.problems.filter(pl.col("trace_rank") > 0).height,
            "with_false_step": len(inputs.false_traces),
            "dropped": len(candidates.false_traces),
        },
    }


def main(argv: list[str] | None = None) -> None:
    options = [name.replace("_", "-") for name in REQUIRED]
    parser = command.make_parser(__doc__, "arm", *options, "output", "filters", "preview")
    for name in OPTIONAL:
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            nargs="?",
            metavar="PATH",
            help="arms trained on the student's own texts",
        )
    args = parser.parse_args(argv)
    config = command.read_config(SelectConfig, args.config)
    try:
        filters.check_names(config.filters)
    except ValueError as error:
        raise InputError(f"--config: filters: {error}") from None
    files = {name: path for name in (*REQUIRED, *OPTIONAL) if (path := getattr(args, name))}
    if config.trained_on in OWN_TEXTS and "samples" not in files:
        raise InputError(f"--samples: an arm trained on {config.trained_on} needs the samples")
    if config.prefer in PREFERENCES and not {"sample_surprisal", "reflection_surprisal"} & {*files}:
        raise InputError(f"prefer: {config.prefer} needs the surprisal of the texts")
    inputs = read_inputs(files, true_traces=config.drop_false_traces, prefer=config.prefer)
    candidates = make_candidates(inputs, config, unchecked=config.trained_on == UNCHECKED)
    pairs = make_pairs(inputs, candidates, config)
    corrections = make_corrections(inputs, files, config)
    reflections = Reflections(
        inputs.reflections,
        inputs.errors,
        candidates.problems,
        names=config.filters,
        limits=config.limits,
        prefer=config.prefer,
        corrections=corrections,
    )
    refinements = None
    if config.trained_on == "oracle":
        refinements = Refinements(
            inputs.problems,
            inputs.samples,
            inputs.errors,
            errors_per_prompt=config.errors_per_prompt,
        )
    wrong = set(inputs.samples.filter(pl.col("verdict") == "incorrect")["problem_id"])
    chooser = Chooser(candidates, config, reflections, refinements, pairs, wrong)
    try:
        train, mixed = choose_rows(chooser, candidates, config)
    except InputError as error:
        raise InputError(f"arm {args.arm}: {error}") from None
    summary = {
        "arm": args.arm,
        **summarise(inputs, candidates, reflections.objections, config.filters),
        "fallbacks": chooser.fallbacks,
        "without_exposed_error": chooser.count_without_error(set(inputs.errors["problem_id"])),
        **({} if pairs is None else {"pairs": pairs.counts}),
        **({} if corrections is None else {"self_correction": corrections.counts}),
        **mixed,
        **count_rows(train),
    }
    log(json.dumps({k: summary[k] for k in ("reflections", "rows", "rows_by_kind", "fallbacks")}))
    if train.height < config.min_rows:
        raise InputError(
            f"arm {args.arm}: {train.height} training rows are left, fewer than select.min_rows = "
            f"{config.min_rows}; {explain_too_few(summary, config.trained_on)}"
        )
    record = provenance.record("orion.stages.select", args.config, files)
    outputs = {name: getattr(args, name) for name in ("output", "filters", "preview")}
    write_selected(train, summary, record, **outputs)


if __name__ == "__main__":
    command.run(main)
