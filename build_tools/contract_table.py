#!/usr/bin/env python3
"""Write the table of docs/front_ends.md from the outcomes of the contract suite.

CONTRACT_RESULTS=native.json pytest tests/contract
contract_table.py native.json container.json torchserve.json > docs/front_ends.md
"""

import json
import sys
from pathlib import Path

HEAD = """# Front ends

The contract says what a client may rely on: see [The contract](contract.md). The same tests
(`tests/contract`) check it on each front end. `build_tools/contract_table.py` writes this page.
"""


def main(*files: str) -> None:
    """Print the page."""
    runs = [json.loads(Path(file).read_text()) for file in files]
    names = [run["front_end"] for run in runs]
    lines = [HEAD, f"| | {' | '.join(names)} |", f"| --- {'| --- ' * len(names)}|"]
    tests = list(dict.fromkeys(test for run in runs for test in run["outcomes"]))
    notes: list[str] = []
    for test in tests:
        cells = [_cell(run["outcomes"].get(test, "not run"), notes) for run in runs]
        lines.append(f"| {_sentence(test)} | {' | '.join(cells)} |")
    lines += ["", *(f"{i}. {note}" for i, note in enumerate(notes, start=1))]
    print("\n".join(lines).rstrip())  # noqa: T201 (it is a script)


def _cell(outcome: str, notes: list[str]) -> str:
    if outcome == "passed":
        return "yes"
    kind, _, reason = outcome.partition(": ")
    if not reason:
        return kind
    if reason not in notes:
        notes.append(reason)
    return f"{kind} ({notes.index(reason) + 1})"


def _sentence(test: str) -> str:
    name, _, case = test.partition("[")
    sentence = name.rpartition("::")[2].removeprefix("test_").replace("_", " ")
    return sentence + (f": {case.rstrip(']')}" if case else "")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
