"""What an arm's texts are made of, and keys of an arm that could have no effect, or a wrong one.

The functions take the whole configuration. ``list_faults`` looks at an arm whether a run has it or
not, ``list_prompt_faults`` at one of a run, whose prompt set has to have its prompt.
"""

from collections.abc import Iterator

from orion import prompts
from orion.config.arm_models import Config, list_source_runs
from orion.config.sources import ArmModel

# the block of the prompt set that asks for the reflections of an arm
REFLECT, REFLECT_ANSWER, SHORTEN = "reflect", "reflect_answer", "shorten"
# the one that makes a training text of a wrong attempt and a refined chain
SELF_CORRECTION = "self_correction"
# the one by which another model reads a student's wrong attempt
REVIEW = "review"


def find_prompt_block(config: Config, name: str) -> str:
    """The block of the prompt set that asks for an arm's reflections."""
    arm = config.arms[name]
    is_written_by_other = config.arm_block("reflect", name).model is not None
    if arm.task == "shorten":
        return SHORTEN
    if is_written_by_other and "errors" in arm.prompt_includes:
        return REVIEW
    return REFLECT_ANSWER if "answer" in arm.prompt_includes else REFLECT


def find_shown_form(config: Config, arm: str) -> str:
    """What the arm's prompts show of a wrong attempt; ``whole`` where they show none."""
    form: str = config.arm_block("expose", arm).show
    return form if "errors" in config.arms[arm].prompt_includes else "whole"


def reads_steps(config: Config, arm: str) -> bool:
    """Whether the steps of the student's samples decide what is exposed for the arm."""
    is_cut = find_shown_form(config, arm) == "to_false_step"
    return config.arms[arm].error_source == "sham" or is_cut


# choices that need the student's surprisal of each text
_BY_SURPRISAL = ("lowest_surprisal", "rank_surprisal")
_OWN_TEXTS = ("own_correct", "own_sample", "error_pairs")


def exposes_by_surprisal(config: Config, arm: str) -> bool:
    """Whether the student's surprisal of its samples decides which errors the arm exposes."""
    selection = config.arm_block("expose", arm).selection
    return config.arms[arm].needs_errors and selection == "most_confident"


def selects_by_surprisal(config: Config, arm: str, texts: str) -> bool:
    """Whether the student's surprisal decides which ``samples`` or ``reflections`` it trains on."""
    select, trained_on = config.arm_block("select", arm), config.arms[arm].trained_on
    if select.prefer not in _BY_SURPRISAL:
        return False
    if texts == "reflections":
        return trained_on == "reflection"
    fallbacks = (select.fallback_no_error, select.fallback_all_filtered)
    is_fallback = config.arms[arm].needs_errors and "own_correct" in fallbacks
    return trained_on in _OWN_TEXTS or is_fallback


def weighs_key_steps(config: Config, arm: str) -> bool:
    """Whether the arm's training weighs the tokens that differ from an exposed wrong attempt."""
    is_trained = config.arms[arm].trained_on != "nothing"
    return is_trained and config.arm_block("train", arm).key_step_weight is not None


def list_faults(config: Config, name: str) -> Iterator[str]:
    """What is wrong with an arm whatever the run is, each with its cure."""
    arm, where = config.arms[name], f"arms.{name}"
    without = ("nothing", "solution", "teacher_trace", "oracle")
    if "prefer" in arm.select and arm.trained_on in without:
        yield (
            f"{where}.select.prefer chooses among the student's texts, and trained_on is "
            f"{arm.trained_on}; drop it"
        )
    if "show" in arm.expose and "errors" not in arm.prompt_includes:
        yield (
            f"{where}.expose.show: no prompt of this arm shows a wrong attempt; add errors to "
            "prompt_includes, or drop it"
        )
    for key in ("prefix_tokens", "prefix_share"):
        if key in arm.pack and arm.trained_on == "nothing":
            yield f"{where}.pack.{key}: the arm is trained on nothing; drop it"
    yield from _list_self_correction_faults(config, name)
    yield from _list_key_step_faults(config, name)
    yield from _list_pair_faults(config, name)
    yield from _list_exposure_faults(config, name)
    if "answer" in arm.prompt_includes:
        yield from _list_rewrites(config, name)
    if arm.mix is not None:
        yield from _list_mix_faults(config, name)


def _list_pair_faults(config: Config, name: str) -> Iterator[str]:
    """What is wrong with the loss of an arm on pairs, or with one that needs pairs."""
    is_paired, where = config.arms[name].trained_on == "error_pairs", f"arms.{name}"
    train, pack = config.arm_block("train", name), config.arm_block("pack", name)
    if config.arms[name].trained_on != "nothing" and is_paired != (train.loss == "dpo"):
        yield (
            f"{where}: trained_on: error_pairs and train.loss: dpo belong together, since the loss "
            f"is that of pairs; this arm has trained_on: {config.arms[name].trained_on} and loss: "
            f"{train.loss}"
        )
    if not is_paired:
        return
    for key in ("prefix_tokens", "prefix_share"):
        if getattr(pack, key) is not None:
            yield (
                f"{where}.pack.{key}: what is wrong with a text may stand behind the prefix; set "
                f"{key}: null for this arm"
            )
    if config.arm_block("select", name).match is not None:
        yield (
            f"{where}.select.match would remove rows and break pairs; set {where}.select.match to "
            "null"
        )


def _list_exposure_faults(config: Config, name: str) -> Iterator[str]:
    """What does not fit errors of another model than the student."""
    arm, expose = config.arms[name], config.arm_block("expose", name)
    where = f"arms.{name}.expose.model"
    if "model" in arm.expose and not arm.needs_errors:
        yield f"{where}: no error is exposed for an arm on {arm.trained_on}; drop it"
    if expose.model is None or not arm.needs_errors:
        return
    if arm.error_source != "own":
        yield (
            f"{where}: the errors of {expose.model} take the place of the student's own; set "
            f"error_source: own, or {where}: null"
        )
    if arm.self_correction is not None:
        yield (
            f"{where}: self_correction opens a text with an attempt of the student itself; set "
            f"{where}: null, or drop self_correction"
        )
    if expose.selection == "most_confident":
        yield (
            f"arms.{name}.expose.selection: most_confident goes by the student's own samples, and "
            f"the errors are those of {expose.model}; set another selection"
        )


def _list_foreign_exposures(config: Config, name: str) -> Iterator[str]:
    """The students of an arm of the run that its exposure model was not trained from."""
    exposed = config.arm_block("expose", name).model
    if exposed is None or not config.arms[name].needs_errors:
        return
    where = f"arms.{name}.expose.model"
    if exposed not in config.models:
        yield f"{where}: {exposed} is not defined under models; define it there, or drop the arm"
        return
    source = config.models[exposed].source
    students = config.runs.models if name in config.runs.arms else []
    students = [*students, *(r.model for r in list_source_runs(config) if r.arm == name)]
    if not isinstance(source, ArmModel):
        return
    for student in students:
        if student != source.model:
            yield (
                f"{where}: {exposed} was trained from {source.model}, so its errors are none of "
                f"{student}, which this arm trains too; run {student} without the arm, or with an "
                "arm of its own that names its own exposure model"
            )


def _list_self_correction_faults(config: Config, name: str) -> Iterator[str]:
    pack = config.arm_block("pack", name)
    for key in ("prefix_tokens", "prefix_share"):
        if config.arms[name].self_correction is not None and getattr(pack, key) is not None:
            yield (
                f"arms.{name}.pack.{key}: a text of self_correction begins with the wrong attempt, "
                f"so that a prefix would teach the error alone; set {key}: null for this arm"
            )


def _list_writer_faults(config: Config, name: str) -> Iterator[str]:
    """What is wrong with the model that writes the reflections of an arm of the run."""
    writer, arm = config.arm_block("reflect", name).model, config.arms[name]
    where = f"arms.{name}: reflect.model"
    if arm.trained_on != "reflection" or writer is None:
        return
    if writer not in config.models:
        yield f"{where}: {writer} is not defined under models; define it there, or drop the arm"
    if {"answer", "errors"} <= {*arm.prompt_includes}:
        yield (
            f"{where}: no prompt shows another model both an attempt and the answer; set "
            "prompt_includes: [errors], [teacher, errors] or [answer]"
        )


def _list_key_step_faults(config: Config, name: str) -> Iterator[str]:
    arm, where = config.arms[name], f"arms.{name}.train.key_step_weight"
    is_of_run = name in config.runs.arms
    if not weighs_key_steps(config, name) or not (is_of_run or "key_step_weight" in arm.train):
        return
    cure = "set key_step_weight: null for this arm"
    is_own = arm.error_source == "own" and config.arm_block("expose", name).model is None
    if "errors" not in arm.prompt_includes or not is_own:
        yield (
            f"{where}: the key steps of a text are where it differs from the student's own wrong "
            f"attempt, and this arm's prompts show none; {cure}"
        )
    elif arm.self_correction is not None:
        yield f"{where}: a text of self_correction holds the wrong attempt itself; {cure}"
    elif (shown := find_shown_form(config, name)) != "whole" and (
        is_of_run or "show" in arm.expose
    ):
        yield (
            f"{where}: the attempts are shown in part (expose.show: {shown}), so that a text "
            f"differs from them where they are cut; {cure}"
        )


def _list_rewrites(config: Config, name: str) -> Iterator[str]:
    select = config.arm_block("select", name)
    for key in ("fallback_no_error", "fallback_all_filtered"):
        if getattr(select, key) == "rewrite":
            yield (
                f"arms.{name}.select.{key}: rewrite shows the teacher's trace, and this arm the "
                "answer alone; set own_correct, teacher or drop for this arm"
            )


def _list_mix_faults(config: Config, name: str) -> Iterator[str]:
    select, where = config.arm_block("select", name), f"arms.{name}"
    if select.match is not None:
        yield (
            f"{where}: select.match would remove rows and change the share of mix; set "
            f"{where}.select.match to null, or drop mix"
        )
    for key in ("fallback_no_error", "fallback_all_filtered"):
        if config.arms[name].needs_errors and getattr(select, key) == "teacher":
            yield (
                f"{where}.select.{key}: teacher adds traces beyond the share of mix; set "
                "own_correct or drop for this arm"
            )


def list_prompt_faults(config: Config, name: str) -> Iterator[str]:
    """What the prompt set lacks for an arm of the run, with the cure."""
    arm = config.arms[name]
    yield from _list_writer_faults(config, name)
    yield from _list_foreign_exposures(config, name)
    found = prompts.load(config.prompts)
    if arm.self_correction is not None and not found.keep(SELF_CORRECTION):
        yield (
            f"arms.{name}.self_correction: the prompt set {config.prompts} has no block "
            f"{SELF_CORRECTION}, which makes this arm's texts: add it, or begin the file with "
            '{% extends "chat" %}'
        )
    block = find_prompt_block(config, name)
    if arm.trained_on != "reflection" or block == REFLECT:
        return
    if not found.keep(block):
        cure = 'add it, or begin the file with {% extends "chat" %}'
        if config.prompts == "demo":
            cure = "the embedded student was not pre-trained on it; set prompts: chat"
        yield (
            f"arms.{name}: the prompt set {config.prompts} has no block {block}, which asks for "
            f"this arm's texts: {cure}"
        )
