"""``orion prompts show | try``: the prompt sets, and every prompt of a run for one problem.

Inputs: prompt files; or the YAML files of a run and the tables that it has made so far. Outputs:
text on standard output. Nothing is generated.
Run: ``orion prompts --help``.
"""

import argparse
import difflib
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from orion import config, paths, prompts, tables
from orion.errors import InputError
from orion.experiment.traces import with_correct_traces
from orion.models import checkpoints, templates
from orion.models.document import ModelDocument, read_document
from orion.provenance import digest_text
from orion.stages import command, reflect, sample

# data that stands for itself where a set is shown
PROBLEM, TEACHER, ERROR, GOLD = "<problem>", "<teacher's trace>", "<wrong attempt>", "<answer>"
NO_ATTEMPT = "<a wrong attempt: the student has not been sampled yet>"
RULE = "-" * 72


def add(commands: Any) -> None:
    """Add the command ``prompts`` to the subparsers of the console script."""
    parser = commands.add_parser("prompts", help="the prompt sets, and the prompts of one problem")
    actions = parser.add_subparsers(required=True)
    show = actions.add_parser("show", help="the texts of prompt sets, with made-up data")
    show.add_argument("sets", nargs="*", metavar="SET", help="chat, demo or the path of a file")
    show.set_defaults(run=_show)
    tried = actions.add_parser("try", help="each prompt of each arm for one problem, with tokens")
    tried.add_argument("files", nargs="+", metavar="CONFIG", help="YAML files, as for config check")
    tried.add_argument("--problem", required=True, metavar="ID", help="the problem's problem_id")
    tried.add_argument("--dataset", help="one of runs.datasets; default: the first that has ID")
    tried.add_argument("--model", help="one of runs.models; default: all of them")
    tried.add_argument("--results", default="results", metavar="DIR")
    tried.set_defaults(run=_try)


def _show(args: argparse.Namespace) -> None:
    for name in args.sets or prompts.BUILT_IN:
        chosen = prompts.load(name)
        prompts.validate(chosen, name)
        print(f"{name}: {', '.join(chosen.keep(*prompts.BLOCKS))}")
        for title, text in _example_texts(chosen):
            digest = digest_text(text)[:8]
            print(f"{RULE}\n{title} [{digest}]\n\n{text}\n")


def _example_texts(chosen: prompts.PromptSet) -> list[tuple[str, str]]:
    """The texts of a set under a title each."""
    texts = [("solve", _join(prompts.solve_messages(chosen, PROBLEM)))]
    for title, teacher, errors in (
        ("reflect, teacher and errors", TEACHER, [ERROR, ERROR]),
        ("reflect, teacher (also: rewrite)", TEACHER, []),
        ("reflect, errors", None, [ERROR]),
    ):
        messages = prompts.reflect_messages(chosen, PROBLEM, teacher=teacher, errors=errors)
        texts.append((title, _join(messages)))
    if chosen.reflect_answer is not None:
        for title, errors in (("reflect_answer, errors", [ERROR]), ("reflect_answer", [])):
            messages = prompts.reflect_messages(
                chosen, PROBLEM, teacher=None, errors=errors, answer=GOLD
            )
            texts.append((title, _join(messages)))
    if chosen.shorten is not None:
        messages = prompts.reflect_messages(
            chosen, PROBLEM, teacher=TEACHER, errors=[], task=prompts.SHORTEN
        )
        texts.append(("shorten", _join(messages)))
    if chosen.review is not None:
        for title, teacher in (("review, teacher and errors", TEACHER), ("review, errors", None)):
            messages = prompts.reflect_messages(
                chosen, PROBLEM, teacher=teacher, errors=[ERROR], task=prompts.REVIEW
            )
            texts.append((title, _join(messages)))
    if chosen.self_correction is not None:
        text = prompts.self_correction(chosen, ERROR, "<refined chain>")
        texts.append(("self_correction", text))
    if chosen.judge is not None:
        texts.append(("judge", prompts.judge(chosen, PROBLEM, "<solution A>", "<solution B>")))
    texts.append(("answer", prompts.answer(chosen, GOLD)))
    for name in ("prefill", "marker", "leak"):
        if text := getattr(chosen, name):
            texts.append((name, text))
    return texts


def _join(messages: list[prompts.Message]) -> str:
    """The user's turn alone, or every turn with its role before it."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"({turn['role']})\n{turn['content']}" for turn in messages)


@dataclass
class Trial:
    """One problem, one student, and what the run has made for them so far.

    ``prompts``: a prompt's text → its tokens to be generated and the places that ask it.
    """

    loaded: config.Config
    results: str
    problems: pl.DataFrame
    wildcards: dict[str, str]
    document: ModelDocument
    tokenizer: Any
    prompts: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def read(self, template: str, table: tables.Table, **more: str) -> pl.DataFrame | None:
        """A table of the run, cut to the problem; None if it is not made yet."""
        path = paths.artifact(self.results, template, **self.wildcards, **more)
        if not path.is_file():
            return None
        wanted = self.problems["problem_id"][0]
        return tables.read(path, table).filter(pl.col("problem_id") == wanted)

    def add(self, requests: pl.DataFrame, max_tokens: int, place: str) -> None:
        """Note the prompts of some requests."""
        distinct = requests.select("template", "prompt").unique(maintain_order=True)
        for template, text in distinct.iter_rows():
            places = self.prompts.setdefault(text, (max_tokens, []))[1]
            places.append(f"{place}, {template}")

    def add_solve(self) -> None:
        """The prompt for a solution, of sampling and evaluation."""
        keys = config.stage_config(self.loaded, "sample", **self.wildcards)
        settings = command.read_config(sample.SampleConfig, keys)
        requests = sample.make_requests(
            self.problems,
            self.tokenizer,
            prompt_set=settings.prompts,
            num_samples=1,
            enable_thinking=settings.enable_thinking,
        )
        evaluations = map(self.loaded.evaluation, self.loaded.runs.benchmarks)
        longest = max(settings.generation.max_tokens, *(block.max_tokens for block in evaluations))
        self.add(requests, longest, "all arms")

    def add_reflect(self, arm: str) -> None:
        """The reflection prompts of an arm."""
        keys = config.stage_config(self.loaded, "reflect", **self.wildcards, arm=arm)
        settings = command.read_config(reflect.ReflectConfig, keys)
        problems, note = self.problems, ""
        verdicts = self.read(paths.TRACE_VERDICTS, tables.VERDICTS)
        if verdicts is not None:
            problems = with_correct_traces(problems, verdicts)
        errors = self.read(paths.ERRORS, tables.ERRORS, arm=arm)
        if errors is None:
            note = " (made-up attempt)"
            errors = problems.select("problem_id", rank=0, response=pl.lit(NO_ATTEMPT))
        planned = reflect.plan_prompts(
            problems,
            errors,
            prompt_includes=settings.prompt_includes,
            rewrite=settings.rewrite,
            errors_per_prompt=settings.errors_per_prompt,
        )
        if not planned:
            trace = problems["teacher_trace"][0] is not None
            print(
                f"{arm}: no prompt for this problem: {errors.height} exposed errors, "
                f"{'a' if trace else 'no'} correct teacher trace"
            )
            return
        requests = reflect.make_requests(
            planned,
            problems,
            self.tokenizer,
            prompt_set=settings.prompts,
            num_samples=1,
            enable_thinking=settings.enable_thinking,
            task=settings.task,
        )
        self.add(requests, settings.generation.max_tokens, f"{arm}{note}")

    def show(self) -> None:
        """Print each prompt once, under the arms that ask it and its number of tokens."""
        for text, (max_tokens, places) in self.prompts.items():
            print(f"{RULE}\n{'; '.join(places)}: {self._count(text, max_tokens)}\n")
            print(f"{text.replace(templates.MARK, '')}\n")

    def _count(self, text: str, max_tokens: int) -> str:
        if self.document.is_served:
            return "messages, whose tokens the server counts"
        tokens = len(templates.encode(self.tokenizer, [text])[0])
        room = self.document.context_length - max_tokens
        fits = "fits" if tokens <= room else "is TOO LONG for"
        return (
            f"{tokens:,} tokens; with max_tokens = {max_tokens:,} it {fits} the context of "
            f"{self.document.context_length:,}"
        )


def _try(args: argparse.Namespace) -> None:
    loaded = config.load(*args.files)
    dataset, problems = _find_problem(loaded, args)
    models = (
        [_choose(args.model, loaded.runs.models, "model")] if args.model else loaded.runs.models
    )
    for model in models:
        path = paths.artifact(args.results, paths.MODEL, model=model)
        if not path.is_file():
            raise InputError(
                f"{path}: no such file; the prompts are written by the model's chat template: run "
                f"`snakemake {path}` with the same --configfile first"
            )
        document = read_document(path)
        trial = Trial(
            loaded,
            args.results,
            problems,
            {"dataset": dataset, "model": model},
            document,
            checkpoints.load_tokenizer(document),
        )
        print(f"{problems['problem_id'][0]} of {dataset}, prompts of {model}")
        trial.add_solve()
        for arm in loaded.runs.arms:
            if loaded.arms[arm].trained_on != "reflection":
                continue
            writer = config.find_writer(loaded, arm, model)
            if writer == model:
                trial.add_reflect(arm)
            else:
                print(f"{arm}: {writer} is asked; its words: orion prompts show {loaded.prompts}")
        trial.show()


def _find_problem(loaded: config.Config, args: argparse.Namespace) -> tuple[str, pl.DataFrame]:
    """The dataset that has the problem, and its row with the teacher's trace."""
    names = loaded.runs.datasets
    if args.dataset:
        names = [_choose(args.dataset, names, "dataset")]
    known: list[str] = []
    for name in names:
        sampled = loaded.datasets[name].teacher is not None
        traced = paths.artifact(args.results, paths.PROBLEMS_WITH_TRACES, dataset=name)
        plain = paths.artifact(args.results, paths.PROBLEMS, dataset=name)
        path = traced if sampled and traced.is_file() else plain
        if not path.is_file():
            raise InputError(
                f"{path}: no such file; run `snakemake {path}` with the same --configfile first, "
                "which needs no model"
            )
        columns = ["problem_id", "problem", "answer", "teacher_trace"]
        problems = tables.read(path, tables.PROBLEMS, columns)
        found = problems.filter(pl.col("problem_id") == args.problem)
        if found.height:
            return name, found
        known += problems["problem_id"].to_list()
    near = difflib.get_close_matches(args.problem, known, 1) or known[:1]
    hint = f"; did you mean {near[0]}?" if near else ""
    raise InputError(f"--problem {args.problem}: not in {', '.join(names)}{hint}")


def _choose(name: str, known: list[str], kind: str) -> str:
    if name not in known:
        raise InputError(f"--{kind} {name}: not under runs.{kind}s; one of {', '.join(known)}")
    return name
