"""One line per arm: what it is trained on, and the question that it answers.

Input: the configuration. Output: rows for the page.
"""

from orion.config import Config, find_exposed, find_writer
from orion.config.blocks import Pack

ARMS = {
    "base": "The untrained student. Question: where does it start?",
    "sft_answer": "Trained on the reference solution, or on the bare answer where there is none. "
    "Question: does a chain of thought help at all?",
    "sft_teacher": "Trained on the teacher's long chain of thought. "
    "Question: how far does plain distillation get?",
    "sft_teacher_matched": "Trained on the teacher's chain of thought, cut to ORION's token "
    "budget. Question: do fewer tokens explain the difference?",
    "sft_own": "Trained on the student's own correct samples. "
    "Question: is rejection sampling enough?",
    "sft_rewrite": "The student rewrites the teacher's chain of thought without seeing an error. "
    "Question: do errors add anything?",
    "orion_no_teacher": "The student refines with its own errors in view, without the teacher's "
    "chain of thought. Question: is the teacher needed?",
    "orion_placebo": "The student refines with a wrong attempt at another problem in view. "
    "Question: must the errors be its own?",
    "orion_sham": "The student refines with an attempt at the same problem in view, whose error is "
    "made at random. Question: does its own error matter?",
    "oracle": "Trained on the generator's own refinements, which write out exactly the steps that "
    "the student got wrong. Question: could any refinement help here?",
    "answer_hint": "The student writes a chain with the answer in view and no trace, where it has "
    "a wrong sample. Question: is the answer enough (STaR)?",
    "long2short": "The student shortens the teacher's chain of thought, with no error in view. "
    "Question: is it only the shorter text?",
    "mix_long": "Trained on the student's own correct samples and a share of teacher traces. "
    "Question: do a few long chains help?",
    "lemma": "Trained on the student's refinements, each behind its wrong attempt, which is taken "
    "back (LEMMA). Question: should the error be in the text that is learnt?",
    "upft": "Trained on the first tokens of the student's own samples, whatever their answers. "
    "Question: is a good start enough?",
    "p_align": "Trained on the first part of the teacher's chain of thought. "
    "Question: is its beginning what helps?",
    "orion": "The method: the student refines the teacher's chain of thought with its own wrong "
    "attempt in view.",
}
TRAINED_ON = {
    "nothing": "trained on nothing",
    "solution": "trained on the reference solution",
    "teacher_trace": "trained on the teacher's chain of thought",
    "own_correct": "trained on the student's own correct samples",
    "own_sample": "trained on the student's own samples, whatever their answers",
    "error_pairs": "trained to prefer the student's own wrong samples to right texts",
    "reflection": "trained on the student's reflections",
    "oracle": "trained on the generator's refinements",
}


def _describe_pack(config: Config, name: str) -> str:
    """What an arm on prefixes keeps of its texts; nothing for the others."""
    pack = config.arm_block("pack", name)
    assert isinstance(pack, Pack)
    if pack.prefix_tokens is not None:
        return f"; the first {pack.prefix_tokens} tokens of each"
    if pack.prefix_share is not None:
        return f"; the first {100 * pack.prefix_share:g} % of the tokens of each"
    return ""


def describe_arms(config: Config) -> list[dict]:
    """One row per arm, described by its configuration unless its line in ``ARMS`` fits."""
    rows = []
    for name in config.runs.arms:
        arm = config.arms[name]
        text, writer = TRAINED_ON[arm.trained_on], "the student"
        if arm.trained_on == "reflection":
            source = (arm.error_source or "none").replace("_", " ")
            exposed = find_exposed(config, name, "")
            source = f"those of {exposed}" if exposed else source
            text += f"; its prompts include {' and '.join(arm.prompt_includes)}; errors: {source}"
            writer = find_writer(config, name, "the student")
            text = text.replace("the student's", f"{writer}'s")
            text += "; they ask for a shorter text" if arm.task == "shorten" else ""
            text += "; each text begins with the wrong attempt" if arm.self_correction else ""
        text += _describe_pack(config, name)
        if arm.mix is not None:
            text += f"; {100 * arm.mix.teacher_share:g} % of the rows are teacher traces"
        # a known line tells of the student's own texts
        is_usual = writer == "the student" and (name == "lemma" or not arm.self_correction)
        line = ARMS.get(name) if is_usual else None
        rows.append({"arm": name, "text": line or f"{text[0].upper()}{text[1:]}."})
    return rows
