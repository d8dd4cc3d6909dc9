"""Counts of what became of the requests of a campaign, as a table and as JSON."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from maskrcnn_study.benchmark.client import Answer

MAX_PING_MS = 500
"""Longest ping that a server may have while it is attacked, in milliseconds, without the time in
which other processes had the CPUs."""
MAX_GROWTH = 0.1
"""Share by which the memory of a server may grow from the start to the end of an attack."""
ALLOWANCE_MB = 10
"""Growth of memory that says nothing in a short attack, in MB."""
HEAD = (
    "| kind | tried | answered | refused | lost | wrong | status 500 "
    "| longest ping, ms: own / with waiting for a CPU / of an idle server "
    "| MB at start / middle / end |"
)
LINE = f"| --- {'| ---: ' * 8}|"
"""Line below the head of the table."""


class Outcome(str, Enum):
    """Outcome of an attack that is no HTTP reply."""

    ANSWERED = "answered"
    CLOSED = "closed"
    """The server closed the connection, as it should."""
    LOST = "lost"
    """There should have been a reply or an end, and was none."""
    WRONG = "wrong"


@dataclass
class Tally:
    """Outcomes of one kind of attack."""

    kind: str
    tried: int = 0
    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """By code of the error; `closed` for connections that the server ended, as it should."""
    lost: int = 0
    wrong: int = 0
    failed: int = 0
    """Number of replies of status 500."""
    ping_ms: float | None = None
    """Longest ping meanwhile. None: the server was not pinged."""
    own_ping_ms: float = 0
    """Longest ping without the time in which the server could run, but had no CPU."""
    idle_ping_ms: float | None = None
    """Longest ping of a server without requests, meanwhile, on the same machine."""
    memory_mb: Sequence[float] = ()
    """Resident memory, in MB, at the start, in the middle and at the end."""
    is_whole: bool = False
    """Whether it lasts as long as the attacks on a server. Memory that is in use at the end of one
    of them may be that of requests."""
    examples: list[str] = field(default_factory=list)
    """Some attacks that went wrong, and their replies."""

    def add(self, reply: Answer | None, sent: bytes = b"") -> None:
        """Count the reply to a request. None: there was none."""
        self.tried += 1
        if reply is None:
            self.lost += 1
            self._note(f"lost: {sent[:200]!r}")
        elif reply.status < 300:
            self.answered += 1
        elif reply.status == 500:
            self.failed += 1
            self._note(f"status 500: {sent[:200]!r}: {reply.body[:300]!r}")
        elif code := error_code(reply.body):
            self.refused[code] += 1
        else:
            self.wrong += 1
            self._note(f"not the JSON of an error: {sent[:200]!r}: {reply.body[:300]!r}")

    def add_wrong(self, sent: bytes, reply: Answer) -> None:
        """Count a reply that is not the right one."""
        self.tried += 1
        self.wrong += 1
        self._note(f"wrong: {sent[:200]!r}: {reply.body[:300]!r}")

    def add_outcome(self, outcome: Outcome | str, sent: str) -> None:
        """Count an attack that is not one request: an outcome, or the code of an error."""
        self.tried += 1
        if outcome is Outcome.ANSWERED:
            self.answered += 1
        elif outcome is Outcome.LOST:
            self.lost += 1
            self._note(f"lost: {sent}")
        elif outcome is Outcome.WRONG:
            self.wrong += 1
            self._note(f"wrong: {sent}")
        elif outcome == "internal_error":
            self.failed += 1
            self._note(f"status 500: {sent}")
        else:
            self.refused[outcome.value if isinstance(outcome, Outcome) else outcome] += 1

    def row(self) -> str:
        """A line of the table."""
        refused = ", ".join(f"{n} `{code}`" for code, n in sorted(self.refused.items())) or "0"
        pings = "-"
        if self.ping_ms is not None:
            pings = f"{self.own_ping_ms:.0f} / {self.ping_ms:.0f} / {self.idle_ping_ms or 0:.0f}"
        memory = " / ".join(f"{size:.0f}" for size in self.memory_mb) or "-"
        counts = f"{self.lost} | {self.wrong} | {self.failed}"
        return (
            f"| {self.kind} | {self.tried} | {self.answered} | {refused} | {counts} "
            f"| {pings} | {memory} |"
        )

    def problems(self) -> list[str]:
        """What is not as it should be."""
        found = [f"{self.lost} lost"] if self.lost else []
        found += [f"{self.wrong} wrong"] if self.wrong else []
        found += [f"{self.failed} of status 500"] if self.failed else []
        found += ["nothing was tried"] if not self.tried else []
        if self.own_ping_ms > MAX_PING_MS:
            found.append(f"a ping of {self.own_ping_ms:.0f} ms")
        if self.is_whole and self.memory_mb:
            start, end = self.memory_mb[0], self.memory_mb[-1]
            if end > start * (1 + MAX_GROWTH) + ALLOWANCE_MB:
                found.append(f"memory grew from {start:.0f} to {end:.0f} MB")
        return [f"problem: {self.kind}: {each}" for each in found]

    def _note(self, text: str) -> None:
        if len(self.examples) < 5:
            self.examples.append(text)


def error_code(body: bytes) -> str:
    """The code in the JSON of an error; empty if it is not one."""
    try:
        return str(json.loads(body)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return ""


def total(tallies: Sequence[Tally]) -> Tally:
    """All kinds together."""
    whole = Tally("all")
    for one in tallies:
        whole.tried += one.tried
        whole.answered += one.answered
        whole.refused += one.refused
        whole.lost += one.lost
        whole.wrong += one.wrong
        whole.failed += one.failed
    whole.own_ping_ms = max(one.own_ping_ms for one in tallies)
    whole.ping_ms = max((one.ping_ms or 0) for one in tallies)
    whole.idle_ping_ms = max((one.idle_ping_ms or 0) for one in tallies)
    whole.refused = Counter({"all codes": whole.refused.total()})
    return whole
