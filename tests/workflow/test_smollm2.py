"""A slice of `make smollm2`: the real weights, real problems and traces, every stage."""

import os

import pytest
import yaml

from orion import tables
from orion.data.download import hash_file, keep
from orion.models.document import read_document
from tests.helpers.snakemake import run_snakemake

pytestmark = [pytest.mark.slow, pytest.mark.data]
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
PUBLISHED = (
    *("gsm8k_train.jsonl", "mip_gsm8k_deepseekR1.json"),
    *("mawpssingleop.jsonl", "svamp.jsonl"),
)
PROBLEMS = 10
SLICE = {
    "runs": {"arms": ["base", "orion"], "benchmarks": ["svamp", "gsm8k-kept-apart"]},
    "comparisons": [{"arm": "orion", "against": "base"}],
    "datasets": {
        "warm-up": {"limit": 120},
        "one-step": {"limit": 12},
        "gsm8k-r1": {"limit": PROBLEMS},
    },
    "benchmarks": {"svamp": {"limit": 6}, "gsm8k-kept-apart": {"limit": 4}},
    "arms": {
        "warm_up": {"pack": {"max_length": 512}, "train": {"max_steps": 2}},
        # after two steps nothing is correct: the answer alone
        "one_step": {"trained_on": "solution", "train": {"max_steps": 1}},
    },
    "sample": {"num_samples": 1, "max_tokens": 40},
    "reflect": {"max_tokens": 24},
    "select": {"fallback_all_filtered": "teacher"},
    "train": {"max_steps": 1, "batch_sequences": 1},
    "evaluate": {"max_tokens": 32},
    "report": {"bootstrap": 100, "examples": 2},
}


def test_the_catalogue_and_the_lock_name_what_the_configuration_runs(root):
    """Without weights or data: the files of the target fit one another."""
    mine = yaml.safe_load((root / "config/smollm2.yaml").read_text())
    assert mine["models"]["smollm2"]["source"]["path"] == f"results/weights/{FILE}"
    assert f"/{FILE}\n" in (root / "Makefile").read_text()
    known = yaml.safe_load((root / "config/datasets.yaml").read_text())["datasets"]
    benchmarks = yaml.safe_load((root / "config/datasets.yaml").read_text())["benchmarks"]
    one_step = mine["datasets"]["one-step"]
    assert one_step["source"] == benchmarks["mawps-singleop"]["source"]
    apart = mine["benchmarks"]["gsm8k-kept-apart"]
    assert apart["source"] == known["gsm8k-train"]["source"]
    assert apart["where"] == mine["datasets"]["warm-up"]["where"]


@pytest.fixture(scope="module")
def results(root, data, commands, tmp_path_factory):
    weights = root / "results/weights" / FILE
    if not weights.is_file():
        pytest.skip(f"no {weights.relative_to(root)}; make smollm2-weights fetches it")
    folder = tmp_path_factory.mktemp("smollm2")
    (folder / "config").symlink_to(root / "config")
    (folder / "results/weights").mkdir(parents=True)
    (folder / "results/weights" / FILE).symlink_to(weights)
    (folder / "slice.yaml").write_text(yaml.safe_dump(SLICE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORION_CACHE", str(folder / "cache"))
        patch.setenv("OMP_WAIT_POLICY", "PASSIVE")
        for name in PUBLISHED:
            keep(data / "original" / name, hash_file(data / "original" / name))
        words = ["--configfile", "config/smollm2.yaml", "slice.yaml"]
        speed = ["--set-resources", "train:micro_batch=1", f"reflect:batch_size={PROBLEMS}"]
        status, out = run_snakemake(folder, root, *words, *speed, commands=commands)
        assert status == 0, out[-6000:]
        again = run_snakemake(folder, root, *words, "--dry-run")[1]
    return folder / "results", again


def test_it_ends_in_a_report_and_a_second_run_plans_nothing(results):
    folder, again = results
    page = (folder / "report/index.html").read_text()
    assert "warm_up of smollm2 on warm-up, seed 1" in page
    assert "Nothing to be done" in again


def test_the_student_is_the_warmed_up_checkpoint(results):
    folder, _ = results
    student = read_document(folder / "models/student/model.json")
    untrained = read_document(folder / "models/smollm2/model.json")
    warmed = read_document(folder / "models/warmed/model.json")
    first, second = student.lineage
    assert (first.dataset, first.model, first.arm) == ("warm-up", "smollm2", "warm_up")
    assert (second.dataset, second.model, second.arm) == ("one-step", "warmed", "one_step")
    assert len({untrained.digest, warmed.digest, student.digest}) == 3
    assert (first.digest, second.digest) == (untrained.digest, warmed.digest)
    assert student.parameters == untrained.parameters == 134_515_008
    assert not (folder / "datasets/warm-up/smollm2/samples.parquet").exists()


def test_problems_kept_apart_are_not_trained_on(results):
    folder, _ = results
    apart = tables.read(folder / "benchmarks/gsm8k-kept-apart/problems.parquet", tables.PROBLEMS)
    warm = tables.read(folder / "datasets/warm-up/problems.parquet", tables.PROBLEMS)
    assert apart.height == 4 and warm.height >= 100
    assert not set(apart["problem"]) & set(warm["problem"])
    assert warm["solution"].null_count() == 0


def test_real_traces_are_read_and_every_reflection_has_a_refined_part(results):
    folder, _ = results
    dataset = folder / "datasets/gsm8k-r1"
    verdicts = tables.read(dataset / "trace_verdicts.parquet", tables.VERDICTS)
    right = verdicts.filter(verdicts["verdict"] == "correct").height
    assert verdicts.height == PROBLEMS and right >= 0.8 * PROBLEMS
    samples = tables.read(dataset / "student/samples.parquet", tables.SAMPLES)
    assert samples.height == PROBLEMS and samples["completion_tokens"].min() > 0
    orion = dataset / "student/orion"
    filters = tables.read_json(orion / "filters.json")
    removed = {row["filter"]: row["removed"] for row in filters["waterfall"]}
    # the prefill is the marker
    assert filters["reflections"] > 0 and removed["no_refined_part"] == 0
    train = tables.read(orion / "train.parquet", tables.TRAIN)
    assert train.height > 0 and os.path.getsize(orion / "packed/train.parquet") > 0
