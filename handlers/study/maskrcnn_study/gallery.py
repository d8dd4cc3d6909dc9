"""A page of the images that two models or servers differ on most."""

import heapq
import html
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from maskrcnn_predict.predictors import ImageResult
from maskrcnn_study.comparison import Difference, Totals
from maskrcnn_study.page import STYLE, thumbnail

POOR_IOU = 0.9
"""IoU below which a pair is listed."""
LARGE_DRIFT = 0.1
"""Drift of the score above which a pair is listed."""


@dataclass(order=True)
class _Card:
    disagreement: float
    order: int
    """Descending number: of two that are as bad, the later one makes room."""
    html: str = field(compare=False)


class Gallery:
    """Keeps the worst `size` images, drawn with what A and B found in them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._cards: list[_Card] = []
        self._order = itertools.count(0, -1)

    def add(self, name: str, a: ImageResult, b: ImageResult, difference: Difference) -> None:
        """Keep the image, if there is a difference and it is among the worst."""
        bad = difference.disagreement
        full = len(self._cards) >= self._size
        if not bad or not self._size or (full and bad <= self._cards[0].disagreement):
            return
        card = _Card(bad, next(self._order), _card(name, a, b, difference))
        (heapq.heappushpop if full else heapq.heappush)(self._cards, card)

    def page(self, a: str, b: str, totals: Totals) -> str:
        """The page as self-contained HTML. All names are escaped."""
        rows = (f"<tr><td>{key}<td>{round(value, 4)}" for key, value in totals.figures().items())
        cards = [card.html for card in sorted(self._cards, reverse=True)]
        return "\n".join(
            [
                "<!doctype html><html lang='en'><meta charset='utf-8'>",
                "<meta name='viewport' content='width=device-width'>",
                f"<title>A and B compared</title><style>{STYLE}</style>",
                f"<h1>A and B compared</h1><p>A: {_text(a)}<br>B: {_text(b)}</p>",
                f"<table>{''.join(rows)}</table>",
                f"<p>The {len(cards)} images that they differ on most:</p>",
                *cards,
                "</html>",
            ]
        )


def in_words(a: ImageResult, b: ImageResult, difference: Difference) -> list[str]:
    """What differs, one line for each detection, the worst kind first."""
    names = {"A": a.names, "B": b.names}
    said = [
        f"only {side}: {names[side][i]} {result.detections.scores[i]:.2f}"
        for side, result, only in (("A", a, difference.only_a), ("B", b, difference.only_b))
        for i in only
    ]
    scores_a, scores_b = a.detections.scores, b.detections.scores
    for place, (i, j) in enumerate(difference.pairs):
        pair = f"{names['A'][i]} {scores_a[i]:.2f} and {scores_b[j]:.2f}"
        ious = (difference.box_ious[place], *difference.mask_ious[place : place + 1])
        if min(ious) < POOR_IOU:
            kinds = zip(("box", "mask"), ious, strict=False)
            said.append(f"{pair}: " + ", ".join(f"{kind} IoU {iou:.2f}" for kind, iou in kinds))
        elif abs(difference.score_drifts[place]) > LARGE_DRIFT:
            said.append(pair)
    return said


def _card(name: str, a: ImageResult, b: ImageResult, difference: Difference) -> str:
    parts = [f"<h2>{_text(name)}</h2>"]
    for side, result in (("A", a), ("B", b)):
        parts.append(f"<figure><img alt='{side}' src='{thumbnail(result.draw())}'>")
        parts.append(f"<figcaption>{side}: {len(result)} instances</figcaption></figure>")
    return "\n".join([*parts, _list(in_words(a, b, difference))])


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(line)}' for line in lines)}</ul>"


def _text(text: str) -> str:
    return html.escape(text)
