"""What a student can do, counted on students whose answers are known."""

import pytest

from orion import prompts
from orion.demo import ability, problems
from orion.demo.ability import count_forced, count_free, describe
from orion.demo.oracle import read_chain
from orion.demo.problems import write_solution, write_step
from orion.demo.skills import SKILLS
from orion.demo.tokenizer import build_tokenizer

PROBLEMS = problems.generate("train", 40, seed=5)


class Scripted:
    """A student that solves by `solve` and completes a step by `complete_step`."""

    def __init__(self, solve=None, complete_step=None):
        self.solve, self.complete_step = solve, complete_step

    def ask(self, problem):
        return f"<{PROBLEMS.index(problem)}>"

    def complete(self, texts, *, max_tokens, until, temperature):
        for text in texts:
            problem = PROBLEMS[int(text[1 : text.index(">")])]
            if until is None:
                yield self.solve(problem)
            else:
                yield self.complete_step(problem, text.count(";"), text[-1])


def borrowing(problem):
    return [SKILLS["borrow"](step) for step in read_chain(problem.meta)]


def cannot_borrow(problem):
    """A solution that gets the first step with a borrow wrong, and so the answer."""
    steps = read_chain(problem.meta)
    needs = borrowing(problem)
    if not any(needs):
        return problem.solution
    at = needs.index(True)
    steps[at] = replace_result(steps[at])
    return write_solution(steps).replace(f"{{ {steps[-1].result} }}", "{ 7777 }")


def replace_result(step):
    return step._replace(result=step.result + 1)


def test_true_chain_is_the_generators():
    for problem in PROBLEMS:
        assert write_solution(read_chain(problem.meta)) == problem.solution


def test_free_answers_are_counted_by_the_skill_of_the_first_wrong_step():
    needs = [borrowing(problem) for problem in PROBLEMS]
    free = count_free(Scripted(cannot_borrow), PROBLEMS, "borrow", samples=3, temperature=1.0)
    wrong = 3 * sum(map(any, needs))
    assert free["solutions"] == 120
    assert free["wrong_needing"] == wrong > 0
    assert free["right"] == 120 - wrong > 0
    assert free["wrong_others"] == free["slips"] == 0
    assert free["steps_needing"] == 3 * sum(map(sum, needs))
    assert free["detailed_needing"] == free["detailed_others"] == 0


def test_written_out_steps_and_slips_are_counted():
    def slip(problem):
        steps = read_chain(problem.meta)
        solution = write_solution(steps, {i for i, need in enumerate(borrowing(problem)) if need})
        return solution.replace(f"{{ {problem.answer} }}", "{ 7777 }")

    free = count_free(Scripted(slip), PROBLEMS, "borrow", samples=1, temperature=1.0)
    assert free["detailed_needing"] == free["steps_needing"] > 0
    assert free["detailed_others"] == 0
    assert free["slips"] == 40
    assert free["right"] == 0


@pytest.mark.parametrize("skill", SKILLS)
def test_forced_steps_are_right_where_result_and_columns_are(skill):
    def short_only_without_the_skill(problem, place, sign):
        step = read_chain(problem.meta)[place]
        whole = write_step(step, detailed=sign == ":")
        ending = whole.split(sign, 1)[1]
        if sign == "=" and SKILLS[skill](step):
            return write_step(replace_result(step)).split("=")[1]
        # a column that is wrong makes a step wrong whose result is right
        return ending.replace("=", "= 1", 1) if sign == ":" and not SKILLS[skill](step) else ending

    table = count_forced(Scripted(complete_step=short_only_without_the_skill), PROBLEMS, skill)
    found = {(row["needs"], row["form"]): row for row in table.iter_rows(named=True)}
    assert sum(row["steps"] for row in found.values()) == 2 * 3 * len(PROBLEMS)
    for (needs, form), row in found.items():
        assert row["steps"] > 0
        assert row["right"] == (row["steps"] if needs == (form == "detailed") else 0)


def test_the_prompt_is_that_of_the_rule_sample():
    tokenizer = build_tokenizer()
    for problem in PROBLEMS[:5]:
        content = prompts.solve("demo", problem.problem)
        rendered = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        own = ability.Student(None, tokenizer).ask(problem)
        assert tokenizer(own)["input_ids"] == tokenizer(rendered)["input_ids"]


def test_a_checkpoint_is_measured(tmp_path, capsys):
    from orion.demo.student import pretrain

    pretrain(
        tmp_path / "student", plain=40, reflections=20, drills=20, hidden=32, layers=1, heads=2,
        kv_heads=1, feedforward=64, batch_tokens=1024,
    )  # fmt: skip
    options = [str(tmp_path / "student"), "--problems", "6", "--samples", "2", "--level", "easy"]
    ability.main(options)
    first = capsys.readouterr().out
    assert "of 12 (" in first
    assert "short, others" in first
    ability.main(options)
    assert capsys.readouterr().out == first


def test_describe_has_no_share_of_nothing():
    free = dict.fromkeys(
        count_free(Scripted(cannot_borrow), [], "borrow", samples=1, temperature=1.0), 0
    )
    table = count_forced(Scripted(), [], "borrow")
    assert any(line.endswith("(none)") for line in describe(free, table, "borrow"))
