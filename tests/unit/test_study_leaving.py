"""What `medhive study show` says leaves a site is what leaves it in a run."""

from __future__ import annotations

import io
from collections import Counter
from typing import get_args

import numpy as np
import pytest
from rich.console import Console

from medhive.client.answer import Site, Tables
from medhive.contract.leaving import FIELDS, HEAD_BYTES, departures, descriptions
from medhive.contract.show import show_departures
from medhive.data.site import SiteData, load_site
from medhive.flower.wire import JOIN_TO_DESCRIBE, Reply, Task, encode_reply
from medhive.learning.registry import ALGORITHMS, DESCRIPTIONS
from medhive.learning.scores import initial_edges
from medhive.rows import Array
from medhive.server.rounds import RoundRecord, run_rounds
from medhive.simulation.inline import LocalExchange
from medhive.study import Strategy, Study
from medhive.studyfile import parse_study
from medhive.sums import size
from support import HEART_SITES, HEART_STUDY


class Silent:
    """Watches a run and says nothing."""

    def phase(self, name: str) -> None: ...
    def round_done(self, record: RoundRecord) -> None: ...
    def joined(self, site: str, n_samples: int) -> None: ...
    def left(self, site: str, reason: str) -> None: ...
    def waiting(self, sites: list[str], minimum: int, seconds: float) -> None: ...


class Recording(Site):
    """A real site that notes each of its replies as it leaves."""

    def __init__(self, name: str, tables: Tables | None = None) -> None:
        def load(study: Study, *, keep_missing: bool = False) -> SiteData:
            return load_site(HEART_SITES[name], study, name, keep_missing=keep_missing)

        super().__init__(name, load, tables=tables)
        self.replies: list[Reply] = []

    def answer(self, task: Task) -> Reply:
        reply = super().answer(task)
        self.replies.append(reply)
        return reply


def study(**run: object) -> Study:
    return parse_study(HEART_STUDY.read_text(encoding="utf-8"), file="s", run_config=run)


def replies_of_a_run(contract: Study) -> list[Reply]:
    sites = [Recording("cleveland"), Recording("va")]
    watch = Silent()
    run_rounds(contract, LocalExchange(list(sites), contract, watch), watch)
    return sites[0].replies


RUNS: list[dict[str, object]] = [
    *({"strategy": name, "num-server-rounds": 2} for name in get_args(Strategy)),
    {"num-server-rounds": 4, "test-fraction": 0.3, "standardise": False},
    {"num-server-rounds": 1, "penalty": "l1"},
    {"num-server-rounds": 2, "missing": "mean"},
    {"num-server-rounds": 2, "missing": "indicator"},
]


@pytest.mark.parametrize("run", RUNS, ids=str)
def test_what_is_said_is_what_leaves(run: dict[str, object]) -> None:
    """Kinds, numbers of sums, bytes and times are those of the actual replies of a run."""
    contract = study(**run)
    replies = replies_of_a_run(contract)
    said = {each.kind: each for each in departures(contract)}
    join, *answers = replies
    assert (join.kind, join.sums.layout) == ("join", ())
    times = Counter(reply.kind for reply in answers)
    assert set(times) == set(said)
    for kind, each in said.items():
        if each.at_most:
            assert 1 <= times[kind] <= each.times
        else:
            assert times[kind] == each.times, kind
    for reply in answers:
        each = said[reply.kind]
        found = [size((field,)) for field in reply.sums.layout]
        promised = [part.numbers for part in each.parts]
        if each.at_most:
            assert all(n <= most for n, most in zip(found, promised, strict=True))
        else:
            assert found == promised, reply.kind
        assert len(reply.sums.vector.tobytes()) <= each.bytes
        head = len(encode_reply(reply)) - 8 * len(reply.sums.vector)
        assert head < HEAD_BYTES
    assert len(encode_reply(join)) < HEAD_BYTES


def test_the_first_histograms_are_as_large_as_said() -> None:
    """The bound on the histograms is reached by the first pass, so it is not larger than needed."""
    contract = study()
    replies = replies_of_a_run(contract)
    first = next(reply for reply in replies if reply.kind == "scores")
    (said,) = [each for each in departures(contract) if each.kind == "scores"]
    assert len(first.sums.vector) == said.numbers


def test_what_is_said_of_a_description_is_what_leaves() -> None:
    """A real site's answers to a description have the sums that are announced, and no others."""
    contract = study()
    site = Recording("va", tables=Tables(allowed=True))
    state: dict[str, Array] = {}
    said = descriptions(contract)
    assert {each.kind for each in said} == DESCRIPTIONS
    site.answer(Task(JOIN_TO_DESCRIBE, 0, 0, contract.canonical))
    for each in said:
        reply = site.answer(Task(each.kind, 0, 0, contract.canonical, state))
        state = ALGORITHMS[each.kind].update(state, reply.sums, contract)
        found = [size((field,)) for field in reply.sums.layout]
        assert found == [part.numbers for part in each.parts], each.kind
        assert len(encode_reply(reply)) - 8 * len(reply.sums.vector) < HEAD_BYTES
    assert len(site.replies[0].sums.vector) == 0


def test_every_sum_of_every_algorithm_has_its_words() -> None:
    """No algorithm, and no field of one, can be added without saying what it is and when."""
    contract = study()
    layouts = {}
    for name, algorithm in ALGORITHMS.items():
        edges = np.zeros((1, 2)) if name in DESCRIPTIONS else initial_edges()
        layouts[name] = [field for field, _ in algorithm.layout({"edges": edges}, contract)]
    assert {name: list(words) for name, words in FIELDS.items()} == layouts
    told = {each.kind for each in descriptions(contract)}
    for strategy in get_args(Strategy):
        told |= {each.kind for each in departures(study(strategy=strategy))}
    assert told == set(ALGORITHMS)


def printed(contract: Study) -> str:
    console = Console(file=io.StringIO(), width=80)
    show_departures(contract, console)
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


def test_it_says_who_sees_the_sums() -> None:
    """The page says that the server sees each site's sums unmasked, and what never leaves."""
    text = printed(study())
    assert "The server sees each site's sums one by one" in text
    assert "unmasked, inside TLS" in text
    assert "What never leaves - Rows" in text
    assert "The server sees these sums too, one site at a time" in text


def test_it_adds_up() -> None:
    """The totals of the page are those of its lines."""
    contract = study(**{"num-server-rounds": 7})
    numbers = sum(each.numbers * each.times for each in departures(contract))
    assert f"At most {numbers:,} numbers, {8 * numbers:,} bytes" in printed(contract)


def test_a_promise_that_cannot_be_kept_is_told() -> None:
    """A study that promises masking is not described as if it were masked."""
    text = HEART_STUDY.read_text(encoding="utf-8")
    text = text.replace("[privacy]", "[privacy]\nsecure-aggregation = true")
    told = printed(parse_study(text, file="s"))
    assert "This study promises masking, which this version cannot do" in told
    assert "one by one" not in told
