"""What each arm has cost: tokens and seconds to make its data, to train it, and per answer.

Inputs: a results folder with the usage files beside it. Outputs: one record per dataset, model and
arm. The tokens to make the data are those of ``data_tokens.csv`` in the report.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from orion import paths
from orion.cost.actual import FinishedJob
from orion.cost.pilot import Pilot, PilotJob, Texts
from orion.tables import read_provenance

ARM = ("dataset", "model", "arm")
# what is made once for all arms that train on the student's samples, or show them
SHARED = ("sample", "check")
OWN = ("expose", "reflect", "check_reflections", "select", "select_unmatched", "match", "pack")


@dataclass(frozen=True)
class ArmCost:
    """One arm; None: unknown, or the arm does not have it.

    ``shared_tokens``, ``shared_seconds``: of the student's samples and their checks, made once for
    all arms that need them. ``own_tokens``, ``own_seconds``: of its errors, reflections and rows.
    ``train_seconds``: of one training, the mean over its seeds. ``answers``: on all benchmarks and
    seeds; ``answer_tokens``, ``answer_seconds``: of one of them, without its check.
    """

    dataset: str
    model: str
    arm: str
    shared_tokens: int | None
    shared_seconds: float | None
    own_tokens: int | None
    own_seconds: float | None
    train_seconds: float | None
    answers: int
    answer_tokens: float | None
    answer_seconds: float | None


def list_arm_costs(run: Pilot, jobs: Iterable[FinishedJob]) -> list[ArmCost]:
    """One record per dataset, model and arm whose rows are packed or that has answers, by name."""
    jobs = list(jobs)
    told = [each.job for each in jobs if each.rule in ("pack", "evaluate_sample")]
    arms = sorted({key for job in told if (key := _find_arm(job)) is not None})
    return [_Arm(run, jobs, *arm).sum_up() for arm in arms]


def _find_arm(job: PilotJob) -> tuple[str, str, str] | None:
    if not set(ARM) <= set(job.wildcards):
        return None
    return job.wildcards["dataset"], job.wildcards["model"], job.wildcards["arm"]


class _Arm:
    """The jobs of one arm, and those of its student."""

    def __init__(self, run: Pilot, jobs: list[FinishedJob], dataset: str, model: str, arm: str):
        self.run, self.key = run, (dataset, model, arm)
        names = {"dataset": dataset, "model": model}
        self.own = [each for each in jobs if _find_arm(each.job) == self.key]
        self.shared = [each for each in jobs if each.rule in SHARED and each.job.wildcards == names]

    def sum_up(self) -> ArmCost:
        """The record of the arm."""
        is_trained = any(each.rule == "pack" for each in self.own)
        shared = self.shared if self._needs_samples() else []
        made = [each for each in self.own if each.rule in OWN]
        trainings = self._pick("train", lambda job: not job.is_resumed)
        answers, tokens, per_answer = self._count_answers()
        return ArmCost(
            *self.key,
            self._sum_tokens(shared) if is_trained else None,
            _sum_seconds(shared) if is_trained else None,
            self._sum_tokens(made) if is_trained else None,
            _sum_seconds(made) if is_trained else None,
            sum(job.seconds for job in trainings) / len(trainings) if trainings else None,
            answers,
            tokens,
            per_answer,
        )

    def _pick(self, rule: str, keep: Callable[[PilotJob], bool]) -> list[PilotJob]:
        return [each.job for each in self.own if each.rule == rule and keep(each.job)]

    def _needs_samples(self) -> bool:
        """Whether the arm's rows were selected from, or by, samples of the student."""
        for template in (paths.UNMATCHED_TRAIN, paths.TRAIN):
            path = paths.artifact(
                self.run.results, template, **dict(zip(ARM, self.key, strict=True))
            )
            if path.is_file():
                return "samples" in read_provenance(path)["inputs"]
        return False

    def _sum_tokens(self, jobs: list[FinishedJob]) -> int | None:
        """Tokens of all rows that generating jobs wrote; None where a table is not there."""
        texts = [self._read(each) for each in jobs if each.rule in ("sample", "reflect")]
        if any(each is None for each in texts):
            return None
        return sum(each.completion_tokens for each in texts if each is not None)

    def _read(self, each: FinishedJob) -> Texts | None:
        return self.run.read_texts(each.rule, each.job)

    def _count_answers(self) -> tuple[int, float | None, float | None]:
        """Answers on all benchmarks and seeds, their tokens, and the seconds of one.

        The seconds are those of jobs that generated all of their answers.
        """
        rows = tokens = timed = 0
        seconds = 0.0
        for each in self.own:
            texts = self._read(each) if each.rule == "evaluate_sample" else None
            if texts is None:
                continue
            rows, tokens = rows + texts.rows, tokens + texts.completion_tokens
            if texts.generated == texts.distinct:
                timed, seconds = timed + texts.rows, seconds + each.job.seconds
        return rows, tokens / rows if rows else None, seconds / timed if timed else None


def _sum_seconds(jobs: list[FinishedJob]) -> float:
    return sum(each.job.seconds for each in jobs)
