"""A run's ceiling ends a generating job: nothing more is asked, and what there is, is kept."""

import polars as pl
import pytest

from orion import completions
from orion.completions.meter import Meter
from orion.completions.store import CompletionStore
from orion.errors import InputError
from orion.spending.ceiling import Ceiling
from orion.spending.usage import Watch
from tests.helpers.fake_engine import DOCUMENT, FakeEngine, make_completion, make_requests, run

# of a prompt "solve {i}" of the fake engine, and of its answer
PROMPT, ANSWER = len("solve 0"), 7


class ObedientEngine(FakeEngine):
    """Works on ``width`` requests at a time and asks before each batch, as engines do."""

    def __init__(self, width, finish=lambda request: "stop"):
        super().__init__(finish)
        self.width = width

    def open(self, kind, document, sampling, options, *, proven):
        self.is_stopped = options.is_stopped
        return super().open(kind, document, sampling, options, proven=proven)

    def generate(self, requests):
        for start in range(0, len(requests), self.width):
            if self.is_stopped():
                return
            yield from super().generate(requests[start : start + self.width])


def limit(root, **limits):
    """A meter; it reads the store anew each time."""
    return Meter(Ceiling(**limits), root, Watch(root.parent, is_active=False))


def store_root(tmp_path):
    return tmp_path / "results" / "completions"


def read_rows(root):
    """How many completions of the fake model are stored."""
    parts = CompletionStore(root, DOCUMENT.digest).parts()
    return sum(pl.read_parquet(path).height for path in parts)


def test_completions_end_exactly_at_the_ceiling_and_a_higher_one_goes_on(tmp_path):
    root = store_root(tmp_path)
    engine = FakeEngine()
    message = (
        r"^ceiling\.completions = 12 is reached: 12 completions are spent; 8 of this job's 20 "
        r"completions are left to generate\. What is stored is kept: raise the ceiling"
    )
    with pytest.raises(InputError, match=message):
        run(make_requests(10, 2), root, engine, meter=limit(root, completions=12))
    assert len(engine.asked) == read_rows(root) == 12
    # the same ceiling pays for nothing more, and no engine is opened
    second = FakeEngine()
    with pytest.raises(InputError, match="8 of this job's 20"):
        run(make_requests(10, 2), root, second, meter=limit(root, completions=12))
    assert second.times_opened == 0
    frame, asked = run(make_requests(10, 2), root, meter=limit(root, completions=20))
    assert asked == 8 and frame.height == 20
    # what is stored needs no room
    frame, asked = run(make_requests(10, 2), root, meter=limit(root, completions=1))
    assert asked == 0 and frame.height == 20
    unlimited, _ = run(make_requests(10, 2), tmp_path / "other/completions")
    assert frame.equals(unlimited)


@pytest.mark.parametrize("width", [1, 4, 64])
def test_tokens_exceed_the_ceiling_by_the_batch_under_way_at_most(tmp_path, width):
    root = store_root(tmp_path)
    each, tokens = PROMPT + ANSWER, 100
    with pytest.raises(InputError, match=r"ceiling\.tokens = 100 is reached: .* tokens are spent"):
        run(make_requests(10, 10), root, ObedientEngine(width), meter=limit(root, tokens=tokens))
    spent = read_rows(root) * each
    assert tokens <= spent < tokens + width * each


def test_what_other_jobs_store_meanwhile_counts(tmp_path):
    root = store_root(tmp_path)
    other = CompletionStore(root, "99" * 32)

    class Engine(ObedientEngine):
        def generate(self, requests):
            for i, completion in enumerate(super().generate(requests)):
                if i == 2:
                    other.append(make_completion(n) for n in range(5))
                yield completion

    with pytest.raises(InputError, match="13 of this job's 20"):
        run(make_requests(10, 2), root, Engine(1), meter=limit(root, completions=12), flush_every=4)
    # the look after the first 4 were stored found 5 more
    assert read_rows(root) == 12 - 5


def test_prompts_without_an_answer_take_no_room(tmp_path):
    root = store_root(tmp_path)

    def finish(request):
        return "prompt_too_long" if request.prompt < "solve 5" else "stop"

    with pytest.raises(InputError, match=r"ceiling\.completions = 4 is reached: 4 completions"):
        run(make_requests(10, 1), root, FakeEngine(finish), meter=limit(root, completions=4))
    assert read_rows(root) == 4
    frame, _ = run(make_requests(10, 1), root, FakeEngine(finish), meter=limit(root, completions=6))
    assert sorted(frame["finish_reason"]) == ["prompt_too_long"] * 5 + ["stop"] * 5


def test_failed_requests_are_not_tried_again_beyond_the_ceiling(tmp_path):
    root = store_root(tmp_path)

    def finish(request):
        return "error" if request.prompt == "solve 0" else "stop"

    engine = FakeEngine(finish)
    with pytest.raises(InputError, match="1 of this job's 4 completions"):
        run(make_requests(4, 1), root, engine, meter=limit(root, completions=3))
    assert len(engine.asked) == 4 and read_rows(root) == 3


def test_a_shard_ends_too(tmp_path):
    root = store_root(tmp_path)
    with pytest.raises(InputError, match=r"ceiling\.completions = 3 is reached"):
        run(
            make_requests(10, 2),
            root,
            call=completions.complete_shard,
            shard=(0, 1),
            meter=limit(root, completions=3),
        )
    assert read_rows(root) == 3


def test_the_money_of_what_is_not_stored_yet_counts(tmp_path):
    root = store_root(tmp_path)
    path = root.parent / "models/fake/model.json"
    path.parent.mkdir(parents=True)
    path.write_text(f'{{"digest": "{DOCUMENT.digest}"}}')
    prices = [1000.0, 3000.0]
    each = (PROMPT * prices[0] + ANSWER * prices[1]) / 1e6
    meter = limit(root, money=2.5 * each, prices={"fake": prices})
    with pytest.raises(InputError, match=r"ceiling\.money = 0\.07 is reached: 0\.084 are spent"):
        run(make_requests(10, 1), root, ObedientEngine(1), meter=meter)
    assert read_rows(root) == 3


def test_hours_end_it_as_the_watch_sees_them(tmp_path):
    root = store_root(tmp_path)
    watch = Watch(root.parent, is_active=False)

    def finish(request):
        watch.hours += 0.4
        return "stop"

    meter = Meter(Ceiling(hours=1.0), root, watch)
    with pytest.raises(InputError, match=r"ceiling\.hours = 1 is reached: 1\.200 hours are spent"):
        run(make_requests(10, 1), root, ObedientEngine(1, finish), meter=meter)
    assert read_rows(root) == 3


def test_an_engine_that_loses_requests_is_still_found_out(tmp_path):
    class Engine(FakeEngine):
        def generate(self, requests):
            yield from list(super().generate(requests))[1:]

    root = store_root(tmp_path)
    with pytest.raises(RuntimeError, match="left 1 of 10 requests"):
        run(make_requests(10, 1), root, Engine(), meter=limit(root, completions=100))
