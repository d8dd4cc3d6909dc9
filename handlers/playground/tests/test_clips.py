"""Tracks of what the page was told of frames, and the frames of animated images."""

from __future__ import annotations

import base64
import json
import sys
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import pycocotools.mask
import pytest

from maskrcnn_handlers.http.asgi import App
from maskrcnn_handlers.http.model_management import ModelManagement
from maskrcnn_playground import clips, tracks
from maskrcnn_playground.clips import Clips
from maskrcnn_server.rle import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from maskrcnn_handlers.service import Service

pytest.importorskip("av")
pytest.importorskip("trackers")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZE = 60, 200
FRAMES = 8


@pytest.fixture
def page(service: Service, connect: Callable[[App], httpx.Client]) -> httpx.Client:
    return connect(App(service, ModelManagement(service.models), 4, Clips(service).routes()))


def square(left: int, top: int, score: float, *, has_mask: bool = False) -> dict[str, Any]:
    """One of 20 pixels; `fake` has category 1."""
    one: dict[str, Any] = {"box": [left, top, left + 20.5, top + 20], "score": score}
    if has_mask:
        bitmap = np.zeros(SIZE, np.bool_)
        bitmap[top : top + 20, left : left + 20] = True
        one["runs"] = encode(bitmap, "rows").compressed()
    return {**one, "category_id": 1}


def asked(*, has_mask: bool = False, **changes: Any) -> dict[str, Any]:
    """Two squares that move; the second is also seen less surely, and again at nearly its place."""
    frames = [
        [
            square(10 + 5 * n, 5, 0.9, has_mask=has_mask),
            square(120 - 5 * n, 30, 0.3 if n == 5 else 0.7, has_mask=has_mask),
            square(121 - 5 * n, 30, 0.2, has_mask=has_mask),
        ]
        for n in range(FRAMES)
    ]
    times = [n / 10 for n in range(FRAMES)]
    return {
        "size": SIZE, "times_s": times, "rate": 10, "score_threshold": 0.5, "frames": frames
    } | changes  # fmt: skip


def post(page: httpx.Client, body: object, **query: str) -> httpx.Response:
    return page.post("/playground/tracks", params=query, json=body)


def test_instances_are_followed(page: httpx.Client) -> None:
    found = post(page, asked()).json()["tracks"]
    assert [track["number"] for track in found] == [1, 2]
    places = [sorted(track["places"]) for track in found]
    assert sorted(places) == [[[n, k] for n in range(FRAMES)] for k in (0, 1)]
    assert {track["category_id"] for track in found} == {1}


def test_tracks_are_written_as_coco_video(page: httpx.Client) -> None:
    reply = post(page, asked(has_mask=True, name="a"), format="coco-video")
    assert reply.headers["content-type"] == "application/json"
    content = reply.json()
    assert content["videos"][0]["timestamps"] == [n / 10 for n in range(FRAMES)]
    assert len(content["annotations"]) == 2
    first = min(content["annotations"], key=lambda one: one["bboxes"][0][0])
    mask = pycocotools.mask.decode(first["segmentations"][3])
    assert mask.shape == SIZE
    assert mask[5:25, 25:45].sum() == mask.sum() == 400


def test_tracks_are_written_as_mots(page: httpx.Client) -> None:
    reply = post(page, asked(has_mask=True), format="mots")
    assert reply.headers["content-type"].startswith("text/plain")
    lines = [line.split() for line in reply.text.splitlines()]
    assert len(lines) == 2 * FRAMES
    assert {line[1] for line in lines} == {"1001", "1002"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"times_s": [0.0]}, "1 times of 8 frames"),
        ({"times_s": [1.0] * FRAMES}, "each is later"),
        ({"rate": 0}, "rate"),
        ({"size": [60, 100_000]}, "size.1"),
        ({"frames": [[{**square(1, 1, 0.9), "runs": "??"}]], "times_s": [0.0]}, "run lengths"),
        ({"frames": [[square(1, 1, 0.5), square(1, 1, 0.9)]], "times_s": [0.0]}, "frames"),
        ({"frames": [[square(1, 1, float("inf"))]], "times_s": [0.0]}, "frames.0.0.score"),
        ({"frames": [[square(1, 1, 0.9)] * 301], "times_s": [0.0]}, "frames.0"),
        ({"frames": [[]] * 301, "times_s": [*map(float, range(301))]}, "times_s"),
        ({"frames": [[square(1, 1, 0.9)] * 20] * 2, "times_s": [0.0, 1.0]}, "more than 39"),
    ],
)
def test_wrong_frames_are_refused(
    monkeypatch: pytest.MonkeyPatch, page: httpx.Client, changes: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr(tracks, "MAX_ALL_INSTANCES", 39)
    body = json.dumps(asked(**changes))
    reply = page.post("/playground/tracks", content=body)
    assert reply.status_code == 400
    assert said in reply.json()["error"]["message"]


def test_formats_and_categories_are_checked(page: httpx.Client) -> None:
    assert "coco-video, mots" in post(page, asked(), format="coco").text
    other = [[{**square(10, 10, 0.9), "category_id": 99}]] * 2
    reply = post(page, asked(frames=other, times_s=[0.0, 0.1]), format="mots")
    assert (reply.status_code, "not one of the model's" in reply.text) == (400, True)
    assert post(page, asked(), format="mots", model="absent").status_code == 404


@pytest.mark.parametrize("path", ["tracks", "frames"])
def test_without_the_distribution_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, page: httpx.Client, path: str
) -> None:
    monkeypatch.setitem(sys.modules, "maskrcnn_video", None)
    reply = page.post(f"/playground/{path}", content=json.dumps(asked()))
    assert reply.status_code == 400
    assert "pip install 'maskrcnn-playground[clips]'" in reply.json()["error"]["message"]


def animation(count: int, size: tuple[int, int] = (60, 40)) -> bytes:
    """Frames of 40, 500, 50, 50, ... ms, each of another colour."""
    first, *others = (PIL.Image.new("RGB", size, (53 * n % 256, 80, n % 256)) for n in range(count))
    file = BytesIO()
    durations = [40, 500, *[50] * (count - 2)]
    first.save(file, "PNG", save_all=True, append_images=others, duration=durations)
    return file.getvalue()


def test_an_animated_image_has_frames_with_times(page: httpx.Client) -> None:
    told = page.post("/playground/frames", content=animation(3)).json()
    assert told["size"] == [40, 60]
    assert [one["time_s"] for one in told["frames"]] == [0, 0.04, 0.54]
    assert [one["duration_s"] for one in told["frames"]] == [0.04, 0.5, 0.05]
    with PIL.Image.open(BytesIO(base64.b64decode(told["frames"][2]["image"]))) as image:
        assert (image.format, image.size) == ("JPEG", (60, 40))


def test_many_frames_are_thinned_out(page: httpx.Client) -> None:
    frames = page.post("/playground/frames", content=animation(700, (8, 8))).json()["frames"]
    assert len(frames) == 234
    assert frames[0]["duration_s"] == pytest.approx(0.59)
    ends = [one["time_s"] + one["duration_s"] for one in frames]
    assert ends[:-1] == pytest.approx([one["time_s"] for one in frames[1:]])


def test_large_frames_are_reduced_and_limited(
    monkeypatch: pytest.MonkeyPatch, page: httpx.Client
) -> None:
    assert page.post("/playground/frames", content=animation(2, (1600, 800))).json()["size"] == [
        640,
        1280,
    ]
    monkeypatch.setattr(clips, "MAX_REPLY_BYTES", 1 << 10)
    reply = page.post("/playground/frames", content=animation(9, (600, 400)))
    assert (reply.status_code, "as JPEGs" in reply.text) == (422, True)
    monkeypatch.setattr(clips, "MAX_ALL_PIXELS", 1 << 10)
    reply = page.post("/playground/frames", content=animation(9))
    assert (reply.status_code, "pixels together" in reply.text) == (422, True)


@pytest.mark.parametrize("data", [b"", b"no image", animation(4)[:-30]])
def test_other_bytes_have_no_frames(page: httpx.Client, data: bytes) -> None:
    assert page.post("/playground/frames", content=data).status_code == 422
