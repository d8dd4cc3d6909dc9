"""check_termination.py URL: no request is lost while the server at URL ends.

Asks with twelve clients, and a new connection for each request, until connections are refused, and
says `asking` before. Whoever runs it sends SIGTERM meanwhile. Prints what became of the requests;
the exit code is 1 if one got no reply, or a status of 500.
"""

import asyncio
import sys
from urllib.parse import urlsplit

from maskrcnn_study.campaign.ends import until_refused
from maskrcnn_study.campaign.exchange import Place
from maskrcnn_study.campaign.tally import Tally


def main() -> None:
    """Ask until the server is gone."""
    parts = urlsplit(sys.argv[1])
    tally = Tally("a termination")
    print("asking", flush=True)  # noqa: T201 (it is a script)
    asyncio.run(until_refused(Place(parts.hostname or "", parts.port or 80), tally))
    refused = f"{tally.refused.total()} refused, {tally.lost} lost of {tally.tried} requests"
    said = f"{tally.answered} answered, {refused} until the server had ended"
    print(said)  # noqa: T201 (it is a script)
    if problems := tally.problems():
        sys.exit("\n".join([*problems, *tally.examples]))


if __name__ == "__main__":
    main()
