"""Page of the images with the largest differences between two results."""

import heapq
import html
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from maskrcnn_client import Answer
from maskrcnn_client.payload import upright
from maskrcnn_handlers.formats import pictures
from maskrcnn_study.certificate import STYLE
from maskrcnn_study.comparison import Difference, Totals

WIDTH = 480
"""Width of the images in the page, in pixels."""
POOR_IOU = 0.9
LARGE_DRIFT = 0.1
"""Minimum score difference of pairs that are listed."""


@dataclass(order=True)
class _Card:
    disagreement: float
    order: int
    """Order of arrival; of equally bad images, the later one is dropped."""
    html: str = field(compare=False)


class Gallery:
    """Keeps the worst `size` images, with the detections of A and B drawn on them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._cards: list[_Card] = []
        self._order = itertools.count(0, -1)

    def add(self, name: str, a: Answer, b: Answer, difference: Difference) -> None:
        """Keep the image if it differs and is among the worst."""
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
                f"<p>The {len(cards)} pictures that they differ on most:</p>",
                *cards,
                "</html>",
            ]
        )


def in_words(a: Answer, b: Answer, difference: Difference) -> list[str]:
    """Differences, one line per detection, the worst kind first."""
    names = {"A": a.names, "B": b.names}
    said = [
        f"only {side}: {names[side][i]} {answer.scores[i]:.2f}"
        for side, answer, only in (("A", a, difference.only_a), ("B", b, difference.only_b))
        for i in only
    ]
    for place, (i, j) in enumerate(difference.pairs):
        pair = f"{names['A'][i]} {a.scores[i]:.2f} and {b.scores[j]:.2f}"
        ious = (difference.box_ious[place], *difference.mask_ious[place : place + 1])
        if min(ious) < POOR_IOU:
            kinds = zip(("box", "mask"), ious, strict=False)
            said.append(f"{pair}: " + ", ".join(f"{kind} IoU {iou:.2f}" for kind, iou in kinds))
        elif abs(difference.score_drifts[place]) > LARGE_DRIFT:
            said.append(pair)
    return said


def _card(name: str, a: Answer, b: Answer, difference: Difference) -> str:
    image = np.asarray(upright(a.picture))
    parts = [f"<h2>{_text(name)}</h2>"]
    for side, answer in (("A", a), ("B", b)):
        drawn = pictures.overlay(image, answer.detections, answer.categories)
        shown = pictures.thumbnail(drawn, WIDTH)
        parts.append(f"<figure><img alt='{side}' src='{shown}'>")
        parts.append(f"<figcaption>{side}: {len(answer)} instances</figcaption></figure>")
    return "\n".join([*parts, _list(in_words(a, b, difference))])


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(line)}' for line in lines)}</ul>"


def _text(text: str) -> str:
    return html.escape(text)
