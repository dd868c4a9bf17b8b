"""``orion completions stat | verify | gc`` on a small results folder."""

import argparse
import json
import os
import subprocess
import sys
import time

import pytest

from orion import completions
from orion.cli import completions as command
from orion.completions import parts
from orion.engines import Completion
from orion.errors import InputError
from tests.helpers.fake_engine import make_completion, make_keys

USED, TRAINED, UNUSED = "a" * 64, "b" * 64, "c" * 64


def orion(*argv):
    """The command as the console script runs it."""
    parser = argparse.ArgumentParser(prog="orion")
    command.add(parser.add_subparsers(required=True))
    args = parser.parse_args(["completions", *map(str, argv)])
    args.run(args)


def write_document(path, digest):
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"digest": digest, "name": "x"}))


@pytest.fixture
def root(tmp_path):
    """Two parts of a model with two names, one of a fine-tuned model, one of no model."""
    results = tmp_path / "results"
    for name in ("tiny", "tiny-again"):
        write_document(results / "models" / name / "model.json", USED)
    write_document(
        results / "datasets" / "chains" / "tiny" / "orion" / "seed-1" / "model.json", TRAINED
    )
    root = results / "completions"
    for digest, numbers in ((USED, (1, 2)), (USED, (2, 3)), (TRAINED, (4,)), (UNUSED, (5,))):
        completions.CompletionStore(root, digest).append(
            [Completion(f"{n:064x}", "text", "stop", 10, 100) for n in numbers]
        )
    return root


def list_files(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_stat_counts_what_is_there_by_model(root, capsys):
    completions.CompletionStore(root, USED).folder.joinpath("part-x.parquet.damaged").write_bytes(
        b"x"
    )
    orion("stat", "--root", root)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0][:3] == ["digest", "parts", "completions"]
    assert rows[1][:6] == ["a" * 16, "2", "3", "1", "40", "400"]
    assert " ".join(rows[1][8:]) == "tiny, tiny-again (1 damaged, set aside)"
    assert rows[2][:6] == ["b" * 16, "1", "1", "0", "10", "100"] and rows[2][8:] == [
        "datasets/chains/tiny/orion/seed-1"
    ]
    assert rows[3][:6] == ["c" * 16, "1", "1", "0", "10", "100"] and rows[3][8:] == ["none", "here"]
    assert rows[4][:6] == ["all", "4", "5", "1", "60", "600"]


def test_stat_of_a_damaged_store_says_what_names_the_damage(root):
    completions.CompletionStore(root, USED).parts()[0].write_bytes(b"nothing")
    with pytest.raises(InputError, match="orion completions verify"):
        orion("stat", "--root", root)


def write_part(folder, rows, name=None):
    """A part with these rows, whatever they are."""
    rows.write_parquet(folder / "new")
    path = folder / (name or f"part-{parts.digest_file(folder / 'new')[:32]}.parquet")
    return (folder / "new").rename(path)


def test_verify_is_silent_about_sound_parts_and_names_each_damaged_one(root, capsys):
    orion("verify", "--root", root)
    assert capsys.readouterr().out == "4 parts, 0 damaged\n"
    folder = completions.CompletionStore(root, USED).folder
    sound = completions.store.as_frame([make_completion(1)])
    expected = {
        write_part(
            folder, sound, "part-" + "0" * 32 + ".parquet"
        ): "its content does not match its name",
        write_part(
            folder, completions.store.as_frame([Completion("A" * 64, "", "stop", 1, 1)])
        ): "1 keys that are not 64",
        write_part(
            folder, completions.store.as_frame([Completion("a" * 63, "", "stop", 1, 1)])
        ): "1 keys that are not 64",
        write_part(
            folder, completions.store.as_frame([Completion("a" * 64, "", "error", 1, -1)])
        ): "1 rows that are no answers",
        write_part(
            folder, sound.with_columns(response=None).cast(parts.STORED_COLUMNS)
        ): "1 rows with a null",
        write_part(folder, sound.drop("response")): "its columns are cell, finish_reason",
    }
    part = completions.CompletionStore(root, TRAINED).parts()[0]
    part.write_bytes(part.read_bytes()[:-9])
    expected[part] = "its content does not match its name"
    with pytest.raises(SystemExit) as end:
        orion("verify", "--root", root)
    out = capsys.readouterr().out
    assert (
        end.value.code == 1
        and "10 parts, 7 damaged" in out
        and "the next run generates their completions again" in out
    )
    for path, reason in expected.items():
        assert any(line.startswith(f"{path}: ") and reason in line for line in out.splitlines()), (
            path,
            reason,
        )


def write_old(path, seconds):
    path.write_bytes(b"x" * 2048)
    os.utime(path, (time.time() - seconds,) * 2)


def test_gc_changes_nothing_until_told_and_then_only_what_nobody_needs(root, capsys):
    folder = completions.CompletionStore(root, USED).folder
    write_old(folder / ".part-1-2.partial", 4000)
    write_old(folder / ".part-1-3.partial", 60)
    write_old(folder / "part-x.parquet.damaged", 60)
    write_old(folder / "notes.txt", 10**6)
    for part in completions.CompletionStore(root, UNUSED).parts():
        os.utime(part, (time.time() - 90_000,) * 2)
    (root / "somebody-else").mkdir()
    write_old(root / "somebody-else" / "part-1.parquet", 10**6)
    before = list_files(root)
    orion("gc", "--root", root)
    out = capsys.readouterr().out
    assert list_files(root) == before and "nothing was changed; --delete would free " in out
    assert "no model.json refers to it: 1 file," in out and f"{'c' * 16}/part-" in out
    assert "leftover of a killed process: 1 file, 2.0 KiB" in out and ".part-1-2.partial" in out
    assert "damaged and set aside: 1 file, 2.0 KiB" in out
    assert f"{folder}: 2 small parts become 1" in out

    orion("gc", "--root", root, "--delete")
    assert "freed " in capsys.readouterr().out
    left = list_files(root)
    assert [name for name in left if "part-" not in name] == ["a" * 16 + "/notes.txt"]
    assert "a" * 16 + "/.part-1-3.partial" in left and "somebody-else/part-1.parquet" in left
    assert (
        not (root / ("c" * 16)).exists()
        and len(completions.CompletionStore(root, USED).parts()) == 1
    )
    assert completions.CompletionStore(root, USED).contains(make_keys(range(9))).sum() == 3
    assert completions.CompletionStore(root, TRAINED).contains(make_keys([4])).sum() == 1


def test_gc_leaves_what_a_model_may_yet_be_written_for(root, capsys):
    """A run may store completions before the results folder has the model's model.json."""
    orion("gc", "--root", root, "--delete")
    assert (
        "no model.json refers to it" not in capsys.readouterr().out and (root / ("c" * 16)).exists()
    )
    orion("gc", "--root", root, "--delete", "--force")
    assert (
        "no model.json refers to it: 1 file," in capsys.readouterr().out
        and not (root / ("c" * 16)).exists()
    )


def test_gc_looks_behind_symbolic_links(root, tmp_path):
    scratch = tmp_path / "scratch"
    write_document(scratch / "tiny" / "model.json", UNUSED)
    (root.parent / "linked").symlink_to(scratch)
    # a loop of links is walked once
    (scratch / "back").symlink_to(root.parent)
    orion("gc", "--root", root, "--delete", "--force")
    assert len(completions.CompletionStore(root, UNUSED).parts()) == 1


def test_gc_refuses_where_a_mistake_would_cost_everything(root, tmp_path):
    write_document(root.parent / "models" / "torn" / "model.json", USED)
    (root.parent / "models" / "torn" / "model.json").write_text("{")
    with pytest.raises(InputError, match=r"torn/model\.json: no readable model\.json"):
        orion("gc", "--root", root, "--delete")
    lonely = tmp_path / "elsewhere" / "store"
    lonely.parent.mkdir()
    root.rename(lonely)
    with pytest.raises(
        InputError, match=r"no model\.json below it, so that no completion would stay"
    ):
        orion("gc", "--root", lonely, "--delete")
    with pytest.raises(InputError, match="no such folder"):
        orion("gc", "--root", root)
    assert len(list_files(lonely)) == 4


def test_sizes_are_written_for_people():
    assert [command.format_bytes(n) for n in (0, 1023, 1024, 5 * 2**20, 3 * 2**40)] == [
        "0 B",
        "1,023 B",
        "1.0 KiB",
        "5.0 MiB",
        "3,072.0 GiB",
    ]


def test_an_edit_of_the_maintenance_reruns_no_stage():
    code = (
        "import sys, orion.stages.sample, orion.stages.reflect; "
        "assert 'orion.completions.maintenance' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
