"""One line per arm: what it is trained on, and the question that it answers.

Input: the configuration. Output: rows for the page.
"""

from orion.config import Config

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
    "orion": "The method: the student refines the teacher's chain of thought with its own wrong "
    "attempt in view.",
}
TRAINED_ON = {
    "nothing": "trained on nothing",
    "solution": "trained on the reference solution",
    "teacher_trace": "trained on the teacher's chain of thought",
    "own_correct": "trained on the student's own correct samples",
    "reflection": "trained on the student's reflections",
    "oracle": "trained on the generator's refinements",
}


def describe_arms(config: Config) -> list[dict]:
    """One row per arm; an arm without a line in ``ARMS`` is described by its configuration."""
    rows = []
    for name in config.runs.arms:
        arm = config.arms[name]
        text = TRAINED_ON[arm.trained_on]
        if arm.trained_on == "reflection":
            source = (arm.error_source or "none").replace("_", " ")
            text += f"; its prompts include {' and '.join(arm.prompt_includes)}; errors: {source}"
        rows.append({"arm": name, "text": ARMS.get(name, f"{text[0].upper()}{text[1:]}.")})
    return rows
