"""The peers' cases judged by our checker, and the committed list of who is right where we differ.

    python -m tests.helpers.answers.peer_suites --show           # every disagreement, in full
    python -m tests.helpers.answers.peer_suites --show --write   # and bring the list up to date

Input: the peers' test suites, found by `peer_sources`, and `peer_disagreements.jsonl`. Output: the
share that agrees of the cases that we hold to be right, and whether the list is true.
`--write` drops the rows that no longer apply and adds new ones with an empty `right`, which a
person must fill in: the test refuses them until then. Rows of a peer whose source is not found
are left as they are.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from orion.answers import Verdict, check
from tests.helpers.answers import peer_cases, peer_sources
from tests.helpers.answers.peer_cases import Case, Suite

LIST = peer_sources.ROOT / "tests" / "orion" / "answers" / "peer_disagreements.jsonl"
OURS, PEER, DEBATABLE = "ours", "peer", "debatable"
FIELDS = ("key", "peer", "right", "reason")


def read_list(path: Path = LIST) -> dict[str, dict[str, str]]:
    """The rows of the list by their key. Raises ValueError for a key that stands twice."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found = {row["key"]: row for row in rows}
    if len(found) != len(rows):
        raise ValueError(f"{path.name} has a key twice")
    return found


def judge(case: Case) -> Verdict:
    """Our verdict: the first that is right for one of the golds, else that for the first gold."""
    verdicts = [check(case.response, gold) for gold in case.golds]
    return next((verdict for verdict in verdicts if verdict.correct), verdicts[0])


@dataclass
class Comparison:
    """One peer's suite beside our verdicts and the committed list."""

    peer: str
    suite: Suite
    differing: dict[str, Verdict]
    listed: dict[str, dict[str, str]]

    @property
    def unlisted(self) -> list[str]:
        """Keys of disagreements that the list does not judge."""
        return [key for key in self.differing if not self.listed.get(key, {}).get("right")]

    @property
    def stale(self) -> list[str]:
        """Keys of the list whose case is gone or now agrees."""
        return [key for key in self.listed if key not in self.differing]

    @property
    def by_judgement(self) -> Counter[str]:
        """How many disagreements there are for each value of `right`."""
        return Counter(self.listed.get(key, {}).get("right", "") for key in self.differing)

    @property
    def counted(self) -> int:
        """How many cases we hold to be right."""
        return len(self.suite.cases) - self.by_judgement[OURS] - self.by_judgement[DEBATABLE]

    @property
    def agreed(self) -> int:
        """How many cases we judge as the peer expects."""
        return len(self.suite.cases) - len(self.differing)

    @property
    def share(self) -> float:
        """The share that agrees of the cases that we hold to be right."""
        return self.agreed / self.counted

    def line(self) -> str:
        """The figures in a line, and what was left out by reason."""
        count = self.by_judgement
        left_out = ", ".join(
            f"{number} {reason}" for reason, number in sorted(self.suite.left_out.items())
        )
        return (
            f"{self.peer}: {self.agreed} of {self.counted} agree ({100 * self.share:.1f} %). Of "
            f"{len(self.suite.cases)} cases {count[OURS]} where we are right and "
            f"{count[DEBATABLE]} debatable are not counted, {count[PEER]} where the peer is "
            f"right and {count['']} not judged are. Left out: {left_out}"
        )

    def show(self, key: str) -> str:
        """A disagreement in full, for a person to judge."""
        case, ours = self.suite.cases[key], self.differing[key]
        row = self.listed.get(key, {})
        golds = " | ".join(_shorten(gold) for gold in case.golds)
        return "\n".join(
            (
                f"{key}  {case.test}  {row.get('right') or 'NOT JUDGED'}: {row.get('reason', '')}",
                f"    gold      {golds}",
                f"    response  {_shorten(case.response)}",
                f"    expected  {'correct' if case.expected else 'not correct'}",
                f"    ours      {ours.verdict} - {ours.reason or '-'} - rule {ours.rule or '-'}",
                f"    read as   {ours.normal!r} from {ours.extracted!r}; gold {ours.gold_normal!r}",
            )
        )


def _shorten(text: str, length: int = 400) -> str:
    return repr(text if len(text) <= length else f"{text[:100]} [...] {text[100 - length :]}")


def compare(peer: str, source: Path, listed: dict[str, dict[str, str]]) -> Comparison:
    """Judge every case of a peer's suite."""
    suite = peer_cases.READERS[peer](source)
    verdicts = {key: judge(case) for key, case in suite.cases.items()}
    differing = {
        key: verdict
        for key, verdict in verdicts.items()
        if verdict.correct is not suite.cases[key].expected
    }
    return Comparison(
        peer, suite, differing, {key: row for key, row in listed.items() if row["peer"] == peer}
    )


def true_rows(comparison: Comparison) -> list[dict[str, str]]:
    """The rows of the list that are true now, in the order of the suite; new ones not judged."""
    return [
        comparison.listed.get(key) or dict(zip(FIELDS, (key, comparison.peer, "", ""), strict=True))
        for key in comparison.differing
    ]


def main() -> None:
    """Print the figures of both peers; with `--show` each disagreement, with `--write` the list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--show", action="store_true", help="print every disagreement in full")
    parser.add_argument("--write", action="store_true", help="bring the committed list up to date")
    parser.add_argument("--right", help="show only those judged so: ours, peer, debatable")
    options = parser.parse_args()
    rows = []
    for peer in peer_sources.PEERS:
        listed = read_list()
        try:
            source = peer_sources.local_source(peer) or peer_sources.fetch_source(peer)
        except peer_sources.NoSourceError as error:
            print(f"{peer}: not compared: {error}")
            rows += [row for row in listed.values() if row["peer"] == peer]
            continue
        comparison = compare(peer, source, listed)
        for key in comparison.differing if options.show else ():
            if options.right in (None, comparison.listed.get(key, {}).get("right")):
                print(comparison.show(key))
        for key in comparison.stale:
            print(f"{key}  no longer differs: {comparison.listed[key]['reason']}")
        print(comparison.line())
        rows += true_rows(comparison)
    if options.write:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        LIST.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
