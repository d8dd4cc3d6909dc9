"""Which requests want a streamed reply."""

import pytest

from maskrcnn_streaming.accepting import EVENTS, NDJSON, Accepted, streamed


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (NDJSON, Accepted(NDJSON, "")),
        ("Text/Event-Stream", Accepted(EVENTS, "")),
        (f"{EVENTS}; format=coco", Accepted(EVENTS, "*/*; format=coco")),
        (f"{NDJSON}, application/json", Accepted(NDJSON, "")),
        (f"application/json;q=0.5, {EVENTS};q=0.9", Accepted(EVENTS, "")),
        (f"application/json, {EVENTS}", None),
        (f"*/*, {NDJSON}", None),
        (f"{NDJSON};q=0", None),
        (f"{NDJSON};q=much", None),
        ("application/jsonlines", None),
        ("", None),
        (NDJSON + "," * 9000, None),
    ],
)
def test_the_first_of_what_is_wanted_most_counts(accept: str, expected: Accepted | None) -> None:
    assert streamed(accept) == expected
