from concurrent.futures import ThreadPoolExecutor

import pytest

from maskrcnn_server import stopwatch
from maskrcnn_server.stopwatch import listen, stage


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stopwatch, "time", clock)
    return clock


def test_stages_are_timed_in_the_order_they_end(clock: Clock) -> None:
    with listen() as heard:
        with stage("decode"):
            clock.now += 2
        clock.now += 5
        with stage("network"):
            clock.now += 3
    assert list(heard.seconds.items()) == [("decode", 2), ("network", 3)]


def test_a_stage_that_comes_again_adds_up(clock: Clock) -> None:
    with listen() as heard:
        for seconds in (1, 2):
            with stage("encode"):
                clock.now += seconds
    assert heard.seconds == {"encode": 3}


def test_a_stage_inside_another_counts_for_itself_alone(clock: Clock) -> None:
    with listen() as heard, stage("outer"):
        clock.now += 1
        with stage("middle"):
            clock.now += 10
            with stage("inner"):
                clock.now += 100
        with stage("middle"):
            clock.now += 20
    assert heard.seconds == {"inner": 100, "middle": 30, "outer": 1}


def test_a_stage_inside_itself_is_counted_once(clock: Clock) -> None:
    with listen() as heard, stage("paste"):
        clock.now += 1
        with stage("paste"):
            clock.now += 2
    assert heard.seconds == {"paste": 3}


def test_a_stage_that_fails_is_timed(clock: Clock) -> None:
    def tear() -> None:
        with stage("decode"):
            clock.now += 2
            raise ValueError("torn")

    with listen() as heard:
        with pytest.raises(ValueError, match="torn"):
            tear()
        with stage("network"):
            clock.now += 1
    assert heard.seconds == {"decode": 2, "network": 1}


def test_nobody_needs_to_listen() -> None:
    with stage("network"):
        pass
    with listen() as heard:
        pass
    assert heard.seconds == {}


def test_listening_ends(clock: Clock) -> None:
    with listen() as first:
        pass
    with listen() as second, stage("network"):
        clock.now += 1
    assert (first.seconds, second.seconds) == ({}, {"network": 1})


def test_who_listened_before_hears_it_too(clock: Clock) -> None:
    with listen() as outer:
        with listen() as inner, stage("decode"):
            clock.now += 1
        with stage("network"):
            clock.now += 2
    assert inner.seconds == {"decode": 1}
    assert outer.seconds == {"decode": 1, "network": 2}


def test_a_stage_around_who_listens_counts_for_itself_alone(clock: Clock) -> None:
    with listen() as outer, stage("all"):
        clock.now += 1
        with listen(), stage("decode"):
            clock.now += 2
    assert outer.seconds == {"all": 1, "decode": 2}


def test_laps_say_when(clock: Clock) -> None:
    with listen() as heard, stage("encode"):
        clock.now += 1
        with stage("paste"):
            clock.now += 2
    begin = clock.now - 3
    assert heard.laps == [
        ("paste", begin + 1, begin + 3, 2),
        ("encode", begin, begin + 3, 1),
    ]


def test_other_threads_are_not_heard() -> None:
    def elsewhere() -> None:
        with stage("network"):
            pass

    with listen() as heard, ThreadPoolExecutor(1) as pool:
        pool.submit(elsewhere).result()
    assert heard.seconds == {}
