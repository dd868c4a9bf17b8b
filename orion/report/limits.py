"""What was pre-trained before any arm, and what a reader must not conclude from the page.

Input: the configuration and the finished document. Output: sentences. Each follows from a fact of
the run: a limit is dropped only where a confirmatory test of the registered plan has removed it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from orion.config import Config
from orion.demo.recipes import read_recipe
from orion.report.registration import ADDED
from orion.report.summary import METHOD, UNTOUCHED, format_percent

SKILLS = {
    "borrow": "a subtraction with a borrow",
    "carry": "an addition with a carry",
    "product": "a multiplication",
}
# arm → what cannot be concluded unless the method is confirmed to be above it
CLAIMS = {
    UNTOUCHED: "that the method improves the student",
    "sft_rewrite": "that seeing an error adds anything to rewriting the teacher's chain",
    "orion_sham": "that the student's own error is what matters, and not any error",
    "orion_placebo": "that an error at the same problem is needed",
    "orion_no_teacher": "that the teacher's chain is needed",
    "sft_teacher_matched": "that the method is better than the teacher's chains for as many tokens",
    "sft_teacher": "that the method is better than plain distillation",
    "sft_own": "that the method is better than training on the student's own correct samples",
}
# without either of them nothing is known of the student's own errors
OWN_ERROR_CONTROLS = ("orion_sham", "orion_placebo")


def describe_pretraining(config: Config) -> list[str]:
    """One sentence or more per kind of origin, with the names of the students that share it."""
    named: dict[str, list[str]] = {}
    for model in config.runs.models:
        source: Any = config.models[config.origin(model)].source
        named.setdefault(_describe_source(source), []).append(model)
    return [f"{', '.join(names)}: {text}" for text, names in named.items()]


def _describe_source(source: Any) -> str:
    if source.kind == "demo":
        options = source.model_dump(exclude={"kind", "seed"}, exclude_none=True)
        return _describe_recipe(options)
    if source.kind == "embedded":
        return _describe_recipe(read_recipe(source.student)["options"])
    if source.kind == "arm":
        return (
            f"trained before by arm {source.arm} of {source.model} on {source.dataset}, seed "
            f"{source.seed}. What holds for {source.model} holds for it too."
        )
    place = {
        "huggingface": lambda: f"the checkpoint {source.repo} at {source.revision[:12]}",
        "path": lambda: "a local checkpoint",
        "gguf": lambda: "a GGUF file",
        "server": lambda: f"the model {source.model} of a server",
    }[source.kind]()
    return (
        f"{place}. What it was pre-trained on is not known here: problems of the benchmarks and of "
        "the training sets, with their solutions, may have been among it."
    )


def _describe_recipe(options: dict[str, Any]) -> str:
    """The pre-training of a student that this project makes; ``options`` that are no default."""
    text = (
        "made for this test bed, and pre-trained by this project on generated chains of arithmetic "
        "alone."
    )
    if options.get("reflections") != 0:
        text += (
            " The pre-training contained reflections: with a teacher's chain, a wrong attempt or "
            "both in the prompt, the student learned to write a refined chain, and to write out "
            "the step that the attempt gets wrong. So it had learned to refine before any arm."
        )
    if options.get("foreign_attempts"):
        share = format_percent(options["foreign_attempts"])
        text += f" In {share} of those with an attempt it was one at another problem."
    if options.get("starved"):
        skill = SKILLS[options["starved"]]
        text += f" Of purpose it never computed {skill} in short form there: its weakness."
    if options.get("columns"):
        text += f" {options['columns']:,} examples wrote out one step by columns."
    return text


def list_limits(doc: dict[str, Any], config: Config) -> list[str]:
    """What must not be concluded: the scope first, then the claims, then what is not tested."""
    return [
        *_limit_scope(doc, config),
        *_limit_claims(doc),
        *_limit_tests(doc),
        *_limit_steps(doc),
        "Anything from a single failure, level, flip or example: they are counted and shown, and "
        "nothing of them is tested.",
    ]


def _limit_scope(doc: dict[str, Any], config: Config) -> Iterator[str]:
    origins = [config.models[config.origin(name)].source.kind for name in config.runs.models]
    made = sum(kind in ("demo", "embedded") for kind in origins)
    if made:
        # those of a served model are not known
        sizes = sorted({model["parameters"] for model in doc["models"]} - {None})
        size = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
        yield (
            "That any of this holds for language models in use, or for problems that people wrote: "
            f"{'the' if made == len(origins) else 'some'} students are made for this test bed. "
            f"Parameters of all students: {size}."
        )
    pooled = [item for item in doc["groups"] if item["students"] > 1]
    for item in pooled:
        yield (
            f"That it holds for students of another kind: the tests over {item['group']} are about "
            f"students made as these {item['students']}."
        )
    if any(item["comparisons"] for item in doc["results"]) or not pooled:
        yield (
            "That a result on one student holds for another: its tests know this student and its "
            "one draw of samples and reflections alone."
        )
    if len(doc["grid"]["seeds"]) < 2:
        yield (
            "That another training of the same student gives the same: there is one seed, so the "
            "spread between trainings is not known."
        )
    yield (
        f"That it holds on other problems: {', '.join(doc['grid']['benchmarks'])} "
        f"{'is' if len(doc['grid']['benchmarks']) == 1 else 'are'} what was measured."
    )
    if made < len(origins):
        loose = [n for n in config.runs.datasets if config.datasets[n].decontaminate_ngram is None]
        if loose:
            yield (
                f"That the training problems of {', '.join(loose)} have nothing in common with the "
                "benchmarks: only equal texts were removed (decontaminate_ngram is null)."
            )


def _limit_claims(doc: dict[str, Any]) -> Iterator[str]:
    """The claims of CLAIMS that no confirmatory test supports everywhere it was made."""
    for against, claim in CLAIMS.items():
        tested = list(_list_tests(doc, against))
        if not tested:
            if {METHOD, against} <= set(doc["grid"]["arms"]):
                text = f"{claim[0].upper()}{claim[1:]}: no test of this run compares {METHOD} with"
                yield f"{text} {against}."
            continue
        above = [place for place, is_above in tested if is_above]
        if len(above) == len(tested):
            continue
        if above:
            text = f"In general {claim}: {METHOD} is confirmed to be above {against} only "
            yield f"{text}{'; '.join(above)}."
        else:
            text = f"{claim[0].upper()}{claim[1:]}: no registered test confirms {METHOD} above"
            yield f"{text} {against}."
    arms = doc["grid"]["arms"]
    if METHOD in arms and not set(OWN_ERROR_CONTROLS) & set(arms):
        yield (
            "That the student's own error is what matters: no arm of this run shows it another "
            "error instead."
        )


def _list_tests(doc: dict[str, Any], against: str) -> Iterator[tuple[str, bool]]:
    """(where, whether a confirmatory test names the method above) of the tests against an arm."""
    for item in (*doc["groups"], *doc["results"]):
        whose = item.get("group") or item["model"]
        for row in item["comparisons"]:
            if (row["arm"], row["against"]) == (METHOD, against) and row["difference"] is not None:
                is_valid = row["status"] != ADDED and not item["plan"]["reasons"]
                place = f"for {whose} on {row['benchmark']}"
                yield place, is_valid and row["reading"] == "above"


def _limit_tests(doc: dict[str, Any]) -> Iterator[str]:
    items = (*doc["groups"], *doc["results"])
    rows = [row for item in items for row in item["comparisons"]]
    unclear = [row for row in rows if row["reading"] == "unclear"]
    if unclear:
        found = [100 * row["detectable"] for row in unclear if row["detectable"] is not None]
        text = (
            f"That two arms are equal where a test is unclear: {len(unclear)} of {len(rows)} are."
        )
        if found:
            low, high = (f"{value:.1f}" for value in (min(found), max(found)))
            span = low if low == high else f"{low} to {high}"
            text += (
                f" Differences that they would find in four of five repetitions, before the "
                f"correction: {span} points."
            )
        yield text
    if any(row["reading"] in ("not inferior", "equivalent") for row in rows):
        yield (
            "That not inferior means better, or equivalent means equal: both hold within the "
            "margin only."
        )
    if any(row["status"] == ADDED for row in rows):
        yield "Anything from a comparison that was added after results: it is exploratory."
    reasons = list(dict.fromkeys(reason for item in items for reason in item["plan"]["reasons"]))
    if reasons:
        yield f"That the tests are confirmatory: {' '.join(reasons)}"


def _limit_steps(doc: dict[str, Any]) -> Iterator[str]:
    rows: Sequence[dict[str, Any]] = [
        row for item in doc["results"] for row in item["false_steps"] if row["scope"] == "all"
    ]
    unknown, steps = (
        sum(sum(row[name] for name in names) for row in rows)
        for names in (("unknown",), ("true", "false", "unknown"))
    )
    if steps:
        yield (
            "That a chain without a false step is true: the check reads only steps that are "
            f"written as calculations, and left {format_percent(unknown / steps)} of those "
            "undecided."
        )
