"""A whole campaign: each kind of attack, in the time that there is."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from maskrcnn_predict.child import Child, running
from maskrcnn_study.benchmark.process import Watched
from maskrcnn_study.campaign import attacks, ends, workers
from maskrcnn_study.campaign.attacks import Watch
from maskrcnn_study.campaign.pinging import pinging
from maskrcnn_study.campaign.servers import Victims, place
from maskrcnn_study.campaign.tally import Tally

KINDS = (*attacks.KINDS, attacks.CHECKED, *workers.KINDS, *ends.KINDS)
"""Kinds of attacks and faults."""
SHARES = {
    "attacks": 0.6,
    "workers": 0.15,
    ends.ENDS: 0.15,
    ends.FEW_FILES: 0.05,
    ends.UNREAD_LOG: 0.05,
}
"""Share of the time of each part; starts of servers come on top."""


@dataclass(frozen=True)
class Campaign:
    """What is attacked, how long, and how."""

    victims: Victims
    seconds: float
    """Seconds of attacks in all."""
    seed: int
    """Whoever gives the same gets the same inputs, in the same order for each client."""
    kinds: Sequence[str] = KINDS
    kills: int = 1
    """Number of kills of a worker, at least."""
    ends: int = 1
    """Number of terminations, at least."""

    def run(self) -> Iterator[Tally]:
        """The tallies, as they are complete."""
        shares = self._shares()
        with self.victims.idle() as idle:
            if "attacks" in shares:
                yield from self._attacks(idle, shares["attacks"])
            if "workers" in shares:
                yield from self._workers(idle, shares["workers"])
            if ends.ENDS in shares:
                yield ends.terminations(self.victims, shares[ends.ENDS], self.seed, self.ends)
            if seconds := shares.get(ends.FEW_FILES):
                with self.victims.few_files(ends.FILES) as child:
                    yield asyncio.run(ends.few_files(child, idle, seconds, self.seed))
            if seconds := shares.get(ends.UNREAD_LOG):
                with self.victims.unread_log() as child:
                    yield asyncio.run(ends.unread_log(child, idle, seconds, self.seed))

    def _attacks(self, idle: Child, seconds: float) -> list[Tally]:
        kinds = self._chosen(attacks.KINDS)
        with self.victims.attacked() as child, pinging([child, idle]) as pings:
            watch = Watch(Watched(child.pid), pings)
            return asyncio.run(attacks.attacks(place(child), watch, kinds, seconds, self.seed))

    def _workers(self, idle: Child, seconds: float) -> list[Tally]:
        kinds = self._chosen(workers.KINDS)
        command = self.victims.command(workers.models(self.victims), "workers")
        env = self.victims.environment(MASKRCNN_TIMEOUT="30")
        with running(command, env=env) as child, pinging([child, idle]) as pings:
            watch = Watch(Watched(child.pid), pings)
            work = workers.attacks(place(child), watch, kinds, seconds, self.seed, self.kills)
            return asyncio.run(work)

    def _chosen(self, kinds: Sequence[str]) -> list[str]:
        return [kind for kind in kinds if kind in self.kinds]

    def _shares(self) -> dict[str, float]:
        """Seconds of each part that has a kind that was chosen."""
        parts = {
            "attacks": [*attacks.KINDS, attacks.CHECKED],
            "workers": list(workers.KINDS),
            **{kind: [kind] for kind in ends.KINDS},
        }
        chosen = {part: SHARES[part] for part, kinds in parts.items() if self._chosen(kinds)}
        return {part: self.seconds * share / sum(chosen.values()) for part, share in chosen.items()}
