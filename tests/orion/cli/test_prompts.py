"""``orion prompts show`` and ``try``: the sets, and every prompt of a run for one problem."""

from pathlib import Path

import polars as pl
import pytest
import yaml

from orion import prompts, tables
from orion.cli.main import main
from orion.models import checkpoints, templates
from tests.helpers.configurations import read_one_student

ARMS = {
    "base": {"trained_on": "nothing"},
    "orion": {
        "trained_on": "reflection",
        "error_source": "own",
        "prompt_includes": ["teacher", "errors"],
    },
    "placebo": {
        "trained_on": "reflection",
        "error_source": "other_problem",
        "prompt_includes": ["teacher", "errors"],
    },
    "rewrite": {
        "trained_on": "reflection",
        "error_source": "own",
        "prompt_includes": ["teacher"],
    },
    "alone": {"trained_on": "reflection", "error_source": "own", "prompt_includes": ["errors"]},
}


@pytest.fixture
def folder(root, tmp_path, monkeypatch, document):
    """A run whose data and model are there, and nothing else."""
    monkeypatch.chdir(tmp_path)
    raw = read_one_student(root)
    raw |= {"arms": ARMS, "comparisons": [], "prompts": "mine.jinja"}
    raw["runs"] |= {"arms": list(ARMS), "benchmarks": ["chains-test"]}
    for stage in ("sample", "reflect", "evaluate"):
        raw[stage]["max_tokens"] = 40
    raw["pack"]["max_length"] = 96
    raw["models"]["tiny"]["context_length"] = 96
    Path("run.yaml").write_text(yaml.safe_dump(raw))
    Path("mine.jinja").write_text('{% extends "demo" %}')
    place = Path("results/datasets/chains")
    frame = pl.DataFrame(
        {
            "problem_id": ["p1", "p2"],
            "problem": ["w1 w2 ?", "w3 ?"],
            "answer": ["1", "2"],
            "solution": None,
            "teacher_trace": ["w9 w9", None],
            "meta": [{"level": 1}] * 2,
        },
        schema_overrides={"solution": pl.String},
    )
    tables.write(frame, place / "problems.parquet", tables.PROBLEMS, {})
    tables.write_json(document.as_json(), "results/models/tiny/model.json", {})
    return place


def test_show_prints_every_text_of_a_set(capsys, tmp_path, monkeypatch):
    main(["prompts", "show"])
    out = capsys.readouterr().out
    assert out.startswith("chat: solve, reflect, answer, marker, leak")
    for text in (
        prompts.solve("chat", "<problem>"),
        prompts.reflect(
            "chat", "<problem>", teacher="<teacher's trace>", errors=["<wrong attempt>"] * 2
        ),
        prompts.solve("demo", "<problem>"),
    ):
        assert text in out
    monkeypatch.chdir(tmp_path)
    Path("mine.jinja").write_text(
        '{% extends "chat" %}{% block system %}Hello.{% endblock %}'
        "{% block prefill %}### Refined solution{% endblock %}"
    )
    main(["prompts", "show", "mine.jinja"])
    out = capsys.readouterr().out
    assert "(system)\nHello.\n\n(user)\n<problem>" in out and "\nprefill [" in out


def test_try_renders_each_prompt_once_with_its_tokens(folder, capsys, document):
    main(["prompts", "try", "run.yaml", "--problem", "p1"])
    out = capsys.readouterr().out
    tokenizer = checkpoints.load_tokenizer(document)

    def heading(text: str, places: str) -> str:
        prompt = templates.render(tokenizer, [{"role": "user", "content": text}])
        [ids] = templates.encode(tokenizer, [prompt])
        count = f"{len(ids)} tokens; with max_tokens = 40 it fits the context of 96"
        return f"{places}: {count}\n\n{prompt}\n"

    attempt = "<a wrong attempt: the student has not been sampled yet>"
    note = "(made-up attempt), reflect"
    both = prompts.reflect("demo", "w1 w2 ?", teacher="w9 w9", errors=[attempt])
    teacher = prompts.reflect("demo", "w1 w2 ?", teacher="w9 w9", errors=[])
    alone = prompts.reflect("demo", "w1 w2 ?", teacher=None, errors=[attempt])
    for text in (
        heading(prompts.solve("demo", "w1 w2 ?"), "all arms, solve"),
        heading(both, f"orion {note}; placebo {note}"),
        heading(teacher, f"rewrite {note}"),
        heading(alone, f"alone {note}"),
    ):
        assert text in out, out
    assert out.count("tokens; with") == 4


def test_try_shows_the_attempts_that_are_exposed(folder, capsys):
    errors = {
        "problem_id": "p1",
        "rank": 0,
        "sample_id": 3,
        "response": "w5 is wrong",
        "extracted": None,
        "source": "own",
        "source_problem_id": "p1",
        "own_sample_id": 3,
    }
    tables.write(
        tables.from_rows([errors], tables.ERRORS), folder / "tiny/orion/errors.parquet",
        tables.ERRORS, {},
    )  # fmt: skip
    verdicts = tables.from_rows(
        [{"problem_id": "p1", "sample_id": 0, "verdict": "incorrect", "extracted": "3",
          "reason": "", "rule": ""}],
        tables.VERDICTS,
    )  # fmt: skip
    tables.write(verdicts, folder / "trace_verdicts.parquet", tables.VERDICTS, {})
    main(["prompts", "try", "run.yaml", "--problem", "p1"])
    out = capsys.readouterr().out
    # the trace checked wrong, so no arm may show it
    for arm in ("orion", "placebo", "rewrite"):
        assert f"{arm}: no prompt for this problem: 1 exposed errors, no correct teacher" in out
    assert "alone (made-up attempt), reflect: " in out
    # an attempt that was exposed is shown as it is
    errors |= {"response": "w6 is wrong"}
    path = folder / "tiny/alone/errors.parquet"
    tables.write(tables.from_rows([errors], tables.ERRORS), path, tables.ERRORS, {})
    main(["prompts", "try", "run.yaml", "--problem", "p1"])
    out = capsys.readouterr().out
    assert "alone, reflect: " in out and "Attempt: w6 is wrong Refine:" in out


def test_a_prefill_that_has_no_place_is_named(folder, capsys):
    # this template prints a turn of the assistant as if it were the user's
    Path("mine.jinja").write_text('{% extends "demo" %}{% block prefill %}w7 w8{% endblock %}')
    with pytest.raises(SystemExit):
        main(["prompts", "try", "run.yaml", "--problem", "p1"])
    assert "so the block prefill has no place" in capsys.readouterr().err


def test_a_prompt_that_leaves_no_room_is_named(folder, capsys):
    Path("mine.jinja").write_text(
        '{% extends "demo" %}{% block solve %}{{ problem }}' + " w1" * 70 + "{% endblock %}"
    )
    main(["prompts", "try", "run.yaml", "--problem", "p2", "--model", "tiny"])
    out = capsys.readouterr().out
    assert "with max_tokens = 40 it is TOO LONG for the context of 96" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--problem", "p11"], "--problem p11: not in chains; did you mean p1?"),
        (["--problem", "p1", "--dataset", "x"], "--dataset x: not under runs.datasets; one of"),
        (["--problem", "p1", "--model", "x"], "--model x: not under runs.models; one of tiny"),
    ],
)
def test_what_is_not_there_is_named(folder, capsys, words, message):
    with pytest.raises(SystemExit) as caught:
        main(["prompts", "try", "run.yaml", *words])
    assert caught.value.code == 2 and message in capsys.readouterr().err


def test_files_that_are_not_made_yet_are_named_with_the_command(folder, capsys):
    for path in ("results/models/tiny/model.json", "results/datasets/chains/problems.parquet"):
        Path(path).unlink()
        with pytest.raises(SystemExit):
            main(["prompts", "try", "run.yaml", "--problem", "p1"])
        assert f"{path}: no such file" in (text := capsys.readouterr().err)
        assert f"`snakemake {path}`" in text


def test_a_bad_file_has_its_message(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.jinja").write_text("{% block slove %}{% endblock %}")
    with pytest.raises(SystemExit):
        main(["prompts", "show", "mine.jinja"])
    assert "mine.jinja, line 1: unknown block slove; did you mean solve?" in capsys.readouterr().err
