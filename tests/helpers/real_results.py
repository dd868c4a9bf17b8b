"""A results folder made of real rows: rollouts of students, traces of teachers, no model.

``make(root, data, SETS[name])`` fills ``root/results`` from the shared data beside the checkout.
Real: problems, traces, samples, and the texts of the reflections, which stand in for what a student
would write of its errors (`stand_ins`). They go through the completion store, and every stage from
`dataset` to `pack` runs on them; there are no weights, so that trained models and the benchmark are
invented by `fake_results`. Run from the top folder of the checkout:
``python -m tests.helpers.real_results --data ../shared/data --set gsm8k --output DIR``.
"""

import argparse
import functools
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from transformers import PreTrainedTokenizerFast

from bench.answer_sets import read_rows
from orion import completions, paths, provenance, tables
from orion.config import params
from orion.config.files import read_mapping
from orion.config.models import merge
from orion.engines import Completion
from orion.models import checkpoints
from orion.models.document import ModelDocument, read_document
from orion.stages import check, command, expose, pack, plan, reflect, report, sample
from tests.helpers import fake_results
from tests.helpers.fake_results import Maker, with_checks

ROOT = Path(__file__).parents[2]
CONTEXT = 32_768
MODEL, BENCHMARK = "rollouts", "invented"
REFLECTING = {"trained_on": "reflection", "error_source": "own"}
ARMS: dict[str, dict[str, Any]] = {
    "base": {"trained_on": "nothing"},
    "sft_answer": {"trained_on": "solution"},
    "sft_teacher": {"trained_on": "teacher_trace"},
    "sft_own": {"trained_on": "own_correct"},
    "sft_rewrite": {**REFLECTING, "prompt_includes": ["teacher"], "select": {"match": None}},
    "orion_no_teacher": {**REFLECTING, "prompt_includes": ["errors"]},
    "orion_placebo": {"error_source": "other_problem"},
    "orion": {"select": {"match": None}},
    "orion_sham": {"select": {"match": None}},
    "orion_cut": {},
    "orion_answer_only": {},
    "answer_hint": {},
    "long2short": {},
}


@dataclass(frozen=True)
class RowSet:
    """Which rollouts make a dataset: the prefixes of their ids, samples per problem.

    ``traced``: only problems with a teacher's trace. ``arms``: without arms that show one.
    """

    prefixes: tuple[str, ...]
    num_samples: int
    traced: bool
    arms: tuple[str, ...] = tuple(ARMS)


UNTRACED = ("base", "sft_answer", "sft_own", "orion_no_teacher", "answer_hint")
SETS = {
    "gsm8k": RowSet(("oai-gsm8k", "ze-gsm"), 4, True),
    "math": RowSet(("ze-math-l5", "qwenmath"), 4, False, UNTRACED),
    # one rollout of a problem, so that no right one is beside a wrong one to be falsified
    "math-traced": RowSet(
        ("mip-math", "ze-math-l5", "qwenmath"),
        1,
        True,
        ("base", "sft_teacher", "sft_rewrite", "orion", "orion_cut", "long2short"),
    ),
}


@dataclass
class Group:
    """The rows of one problem: rollouts in the order of the file, and the traces of its text."""

    problem_id: str
    rollouts: list[dict]
    traces: list[dict]


def read_groups(data: Path, wanted: RowSet, limit: int | None) -> list[Group]:
    """Problems with enough rollouts, those with right and wrong ones first."""
    by_text: dict[str, list[dict]] = defaultdict(list)
    for row in read_rows(data / "teacher_traces.jsonl.zst"):
        by_text[" ".join(row["problem"].split())].append(row)
    rollouts: dict[str, list[dict]] = defaultdict(list)
    for row in read_rows(data / "student_rollouts.jsonl.zst"):
        if row["id"].startswith(wanted.prefixes):
            rollouts[" ".join(row["problem"].split())].append(row)
    groups = [
        Group(rows[0]["group"] or rows[0]["id"], rows[: wanted.num_samples], by_text[text])
        for text, rows in rollouts.items()
        if len(rows) >= wanted.num_samples and (by_text[text] or not wanted.traced)
    ]
    return sorted(groups, key=_rank)[:limit]


def _rank(group: Group) -> tuple:
    """Right and wrong rollouts first, then wrong ones only; single ones at random."""
    marks = [row["correct"] for row in group.rollouts]
    digest = provenance.digest_text(group.problem_id)
    return (len(marks) > len(set(marks)) == 1, len(marks) > 1 and False not in marks, digest)


KINDS = ("right", "wrong", "conclusion", "trace", "unmarked")


def stand_ins(group: Group, error: str | None) -> list[tuple[str, str]]:
    """(kind, response) for the reflections on one error: real texts, none written for it.

    ``right`` and ``wrong``: another rollout of the problem. ``conclusion``: what a trace says
    behind its thinking, of the last trace. ``trace``: the whole first trace. ``unmarked``: a right
    rollout without the marker of the refined part.
    """
    others = [row for row in group.rollouts if row["response"] != error]
    right = [row["response"] for row in others if row["correct"]]
    wrong = [row["response"] for row in others if not row["correct"]]
    finals = [row["final"] for row in group.traces if row["final"]]
    whole = [row["response"] for row in group.traces]
    texts = {
        "right": right[:1] or whole[-1:],
        "wrong": wrong[:1] or right[-1:],
        "conclusion": finals[-1:] or right[-1:],
        "trace": whole[:1] or right[-1:],
    }
    # the reference solution where neither a rollout nor a trace is left
    solution = group.rollouts[0]["solution"] or "There is no other text."
    found = [(kind, (text or [solution])[0]) for kind, text in texts.items()]
    marked = [
        (kind, f"It goes wrong at one step.\n\n### Refined solution\n{text}")
        for kind, text in found
    ]
    return [*marked, (KINDS[-1], found[0][1])]


class Texts:
    """An engine that answers each prompt with the texts given for it, in order."""

    def __init__(self, tokenizer: Any, texts: dict[str, list[str]]):
        self.tokenizer, self.texts = tokenizer, {key: iter(value) for key, value in texts.items()}

    def open(self, *_args: Any, **_options: Any) -> "Texts":
        return self

    def generate(self, requests: list) -> Iterator[Completion]:
        for request in requests:
            text = next(self.texts[request.prompt])
            counts = [len(self.tokenizer(t)["input_ids"]) for t in (request.prompt, text)]
            yield Completion(request.key, text, "stop", *counts)


def configuration(wanted: RowSet) -> dict:
    """The configuration of the run: the arms of the house, prompts of chat models."""
    files = ("config.yaml", "arms.yaml")
    raw = functools.reduce(merge, (read_mapping(ROOT / "config" / name) for name in files))
    names = ["problem_id", "problem", "answer", "solution", "teacher_trace"]
    changes = {
        "runs": {
            "datasets": ["real"],
            "models": [MODEL],
            "arms": list(wanted.arms),
            "benchmarks": [BENCHMARK],
            "students": None,
        },
        "comparisons": [],
        "prompts": "chat",
        "datasets": {
            "real": {
                "source": {"kind": "jsonl", "path": "problems.jsonl"},
                "fields": {name: name for name in names},
            }
        },
        "benchmarks": {BENCHMARK: {"source": {"kind": "demo", "level": "test", "n": 4, "seed": 1}}},
        "models": {
            MODEL: {
                "source": {"kind": "path", "path": "tokenizer"},
                "chat_template": "template.jinja",
                "context_length": CONTEXT,
            }
        },
        "arms": ARMS,
        "sample": {"num_samples": wanted.num_samples, "max_tokens": 4096},
        "reflect": {"num_samples": len(KINDS), "max_tokens": 8192},
        "select": {"max_per_problem": 4, "max_tokens": 1024, "min_rows": 1},
        "pack": {"max_length": 8192},
        "train": {"max_steps": 12},
        "report": {"title": "Real rows, invented results", "bootstrap": 200, "examples": 24},
    }
    raw = merge(raw, changes)
    raw["select"]["filters"] = [*raw["select"]["filters"], "no_step"]
    return raw


class RealMaker(Maker):
    """Writes the artifacts of real rows, with paths relative to the working directory."""

    def __init__(self, raw: dict, groups: list[Group]):
        super().__init__(raw)
        self.groups = {group.problem_id: group for group in groups}
        self.store = self.root / "completions"
        # arm → what was asked for its reflections; "" → for the samples
        self.asked: dict[str, pl.DataFrame] = {}

    def write_inputs(self, data: Path, template: str) -> Path:
        """problems.jsonl, the tokenizer, the template and model.json, whose place is returned."""
        with Path("problems.jsonl").open("w", encoding="utf-8") as file:
            for group in self.groups.values():
                row = group.rollouts[0]
                problem = {name: row[name] for name in ("problem", "answer", "solution")}
                traces = [trace["response"] for trace in group.traces]
                problem |= {"problem_id": group.problem_id, "teacher_trace": traces}
                file.write(json.dumps(problem) + "\n")
        source = (data / "chat_templates" / f"{template}.jinja").read_text(encoding="utf-8")
        Path("template.jinja").write_text(source, encoding="utf-8")
        words = PreTrainedTokenizerFast(
            tokenizer_file=str(data / "smollm2-tokenizer/tokenizer.json"),
            eos_token="<|im_end|>",
            chat_template=source,
        )
        words.save_pretrained("tokenizer")
        config = (data / "smollm2-tokenizer/config.json").read_text(encoding="utf-8")
        Path("tokenizer/config.json").write_text(config, encoding="utf-8")
        document = ModelDocument(
            name=MODEL,
            digest=provenance.digest_text(source),
            context_length=CONTEXT,
            path="tokenizer",
            dtype="float32",
            chat_template=source,
            vocab_size=len(words),
            parameters=1,
        )
        place, record = self.path(paths.MODEL, model=MODEL), self.record("model", {}, model=MODEL)
        tables.write_json(document.as_json(), place, record)
        passed = {"name": "invented", "passed": True, "figure": "none", "cure": ""}
        checks = {"model": MODEL, "digest": document.digest, "checks": [passed]}
        tables.write_json(checks, self.path(paths.PREFLIGHT, model=MODEL), record)
        return place

    def store_texts(self, requests: pl.DataFrame, texts: dict[str, list[str]], block: Any) -> None:
        """Put texts, in order under their prompts, into the completion store."""
        document = read_document(self.path(paths.MODEL, model=MODEL))
        engine = Texts(checkpoints.load_tokenizer(document), texts)
        completions.complete(
            requests,
            document=document,
            generation=block,
            root=self.store,
            open_engine=engine.open,
        )

    def make_all(self, document: Path) -> None:
        """Every artifact up to the report."""
        self.run_stage(plan, "plan", {}, results=self.root, output=self.path(paths.PLAN))
        names = (paths.BENCHMARK_PROBLEMS, paths.BENCHMARK_REJECTED, paths.BENCHMARK_LINT)
        held_out = [self.make_problems("benchmark", BENCHMARK, names, [])]
        names = (paths.PROBLEMS, paths.REJECTED, paths.LINT)
        problems = self.make_problems("dataset", "real", names, held_out)
        keys = {"dataset": "real", "model": MODEL}
        parents = self._check("check_traces", {"dataset": "real"}, problems, problems, "trace")
        answered = parents | self._make_samples(keys, problems, document)
        for arm in self.config.runs.arms:
            self._make_arm({**keys, "arm": arm}, parents, answered, document)

    def _check(
        self, stage: str, keys: dict, problems: Path, texts: Path, prefix: str
    ) -> dict[str, Path]:
        """The verdicts and steps of texts, by the names of the options that read them."""
        files = {
            "trace": (paths.TRACE_VERDICTS, paths.TRACE_STEPS),
            "": (paths.VERDICTS, paths.STEPS),
            "reflection": (paths.REFLECTION_VERDICTS, paths.REFLECTION_STEPS),
        }[prefix]
        verdicts, steps = (self.path(name, **keys) for name in files)
        read = {"problems": problems, "samples": texts}
        self.run_stage(check, stage, keys, **read, output=verdicts, output_steps=steps)
        lead = f"{prefix}_" if prefix else ""
        found = {f"{lead}verdicts": verdicts, f"{lead}steps": steps}
        return found | ({"problems": problems} if prefix == "trace" else {})

    def _make_samples(self, keys: dict, problems: Path, document: Path) -> dict[str, Path]:
        settings = self.read_settings(sample.SampleConfig, "sample", **keys)
        requests = sample.make_requests(
            tables.read(problems, tables.PROBLEMS),
            checkpoints.load_tokenizer(read_document(document)),
            prompt_set=settings.prompts,
            num_samples=settings.generation.num_samples,
            enable_thinking=settings.enable_thinking,
        )
        self.asked[""] = requests
        texts = {
            prompt: [row["response"] for row in self.groups[problem_id].rollouts]
            for problem_id, prompt in requests.select("problem_id", "prompt").iter_rows()
        }
        self.store_texts(requests, texts, settings.generation)
        samples = self.path(paths.SAMPLES, **keys)
        options = {"problems": problems, **with_checks(document), "completions": self.store}
        self.run_stage(sample, "sample", keys, **options, output=samples)
        return {"samples": samples, **self._check("check", keys, problems, samples, "")}

    def read_settings(self, kind: Any, stage: str, **keys: str) -> Any:
        """The configuration of a stage as its dataclass."""
        return command.read_config(kind, json.loads(params(self.config, stage, **keys)))

    def _make_arm(self, keys: dict, parents: dict, answered: dict, document: Path) -> None:
        block = self.config.arms[keys["arm"]]
        trained_on = block.trained_on
        if trained_on == "reflection":
            answered = answered | self._make_reflections(keys, answered, document)
        if trained_on != "nothing":
            needs = parents if trained_on in ("solution", "teacher_trace") else answered
            train = fake_results.select_rows(self, keys, needs)
            packed, stats = (self.path(name, **keys) for name in (paths.PACKED, paths.PACKED_STATS))
            options = {"train": train, **with_checks(document)}
            self.run_stage(pack, "pack", keys, **options, output=packed, stats=stats)
            tokens = tables.read_json(stats)["trained_tokens"]
            fake_results.invent_training(self, keys, document, tokens)
        for seed in self.config.runs.seeds:
            own = self.path(paths.TRAINED_MODEL, **keys, seed=seed)
            run = {**keys, "seed": str(seed), "benchmark": BENCHMARK}
            fake_results.make_evaluation(self, run, document if trained_on == "nothing" else own)

    def _make_reflections(self, keys: dict, parents: dict, document: Path) -> dict[str, Path]:
        exposing = self.read_settings(expose.ExposeConfig, "expose", **keys)
        errors = self.path(paths.ERRORS, **keys)
        read = {name: parents[name] for name in ("samples", "verdicts")}
        if exposing.error_source == "sham":
            read |= {name: parents[name] for name in ("problems", "steps")}
        if exposing.show == "to_false_step":
            read |= {"steps": parents["steps"]}
        self.run_stage(expose, "expose", keys, **read, output=errors)
        settings = self.read_settings(reflect.ReflectConfig, "reflect", **keys)
        problems = reflect.with_correct_traces(
            tables.read(parents["problems"], tables.PROBLEMS),
            tables.read(parents["trace_verdicts"], tables.VERDICTS),
            tables.read(parents["trace_steps"], tables.STEPS)
            if settings.drop_false_traces
            else None,
        )
        planned = reflect.plan_prompts(
            problems,
            tables.read(errors, tables.ERRORS),
            prompt_includes=settings.prompt_includes,
            rewrite=settings.rewrite,
            errors_per_prompt=settings.errors_per_prompt,
        )
        requests = reflect.make_requests(
            planned,
            problems,
            checkpoints.load_tokenizer(read_document(document)),
            prompt_set=settings.prompts,
            num_samples=settings.generation.num_samples,
            enable_thinking=settings.enable_thinking,
            task=settings.task,
        )
        self.asked[keys["arm"]] = requests
        texts: dict[str, list[str]] = defaultdict(list)
        each = settings.generation.num_samples
        for item, prompt in zip(planned, requests["prompt"].gather_every(each), strict=True):
            error = item.errors[0] if item.errors else None
            texts[prompt] += [text for _, text in stand_ins(self.groups[item.problem_id], error)]
        self.store_texts(requests, texts, settings.generation)
        reflections = self.path(paths.REFLECTIONS, **keys)
        names = ("problems", "trace_verdicts", "trace_steps")
        options = {name: parents[name] for name in names} | {"errors": errors}
        options |= {**with_checks(document), "completions": self.store}
        self.run_stage(reflect, "reflect", keys, **options, output=reflections)
        checked = self._check(
            "check_reflections", keys, parents["problems"], reflections, "reflection"
        )
        return {"errors": errors, "reflections": reflections, **checked}


def make(
    root: Path, data: Path, wanted: RowSet, *, limit: int | None = None, template: str = "qwen2_5"
) -> RealMaker:
    """Fill ``root/results`` and ``root/results/report`` from a set of rows.

    ``limit``: problems. ``template``: a file of the vendors' chat templates.
    """
    data = data.resolve()
    before = Path.cwd()
    root.mkdir(parents=True, exist_ok=True)
    os.chdir(root)
    try:
        raw = configuration(wanted)
        Path("tokenizer").mkdir(exist_ok=True)
        maker = RealMaker(raw, read_groups(data, wanted, limit))
        maker.make_all(maker.write_inputs(data, template))
        output = str(maker.root / "report")
        config = params(maker.config, "report")
        report.main(["--config", config, "--results", str(maker.root), "--output-dir", output])
    finally:
        os.chdir(before)
    return maker


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--set", default="gsm8k", choices=SETS)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--limit", type=int, help="problems; default: all")
    parser.add_argument("--template", default="qwen2_5", help="a file of chat_templates")
    args = parser.parse_args()
    make(args.output, args.data, SETS[args.set], limit=args.limit, template=args.template)


if __name__ == "__main__":
    main()
