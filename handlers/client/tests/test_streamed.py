"""Streamed replies and frames, from a real server and from scripts."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskrcnn_client import (
    AsyncClient,
    Client,
    ClientError,
    ImageRefused,
    IncompleteReply,
    InvalidOption,
    InvalidReply,
    Prediction,
    ServerFailed,
    ServerUnavailable,
    Tile,
    joined,
)
from maskrcnn_client.errors import ConnectionBroken
from maskrcnn_client.replies import Reply, Request
from maskrcnn_client.transports import LINES
from maskrcnn_sagemaker import event_stream
from maskrcnn_server.hosting.scheduler import Scheduler

SPOTS = [(40, 30), (40, 200), (150, 110), (260, 40), (250, 230)]
"""Rows and columns of red squares of 12 pixels."""
Pixels = NDArray[np.uint8]


@pytest.fixture
def spots() -> Pixels:
    pixels = np.zeros((300, 280, 3), np.uint8)
    for y, x in SPOTS:
        pixels[y : y + 12, x : x + 12, 0] = 255
    return pixels


class Script:
    """A transport whose replies are these, each with the bytes that follow its head."""

    limit_mb: float | None = None

    def __init__(self, *replies: tuple[Reply, list[bytes]] | Exception) -> None:
        self.replies = list(replies)
        self.requests: list[Request] = []

    @contextmanager
    def opened(self, request: Request) -> Iterator[tuple[Reply, Iterator[bytes]]]:
        self.requests.append(request)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        yield reply[0], iter(reply[1])

    def send(self, _: Request) -> Reply:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to close."""


def streamed(*lines: bytes) -> tuple[Reply, list[bytes]]:
    return Reply(200, b"", is_streamed=True), list(lines)


END = b'{"end":true,"images":1,"failed":0,"request_id":"r"}\n'


def entry(**content: Any) -> bytes:
    return json.dumps(content).encode() + b"\n"


def tile_entry(done: int, of: int = 3) -> bytes:
    tile = {"x": 0, "y": 0, "width": 5, "height": 4}
    return entry(index=0, size=[8, 10], tile=tile, done=done, of=of, prediction=[])


def corners(found: Prediction) -> list[tuple[float, float]]:
    return sorted((y, x) for x, y, *_ in found.boxes.tolist())


def assert_are_the_tiles(tiles: list[Tile], spots: Pixels) -> None:
    assert [tile.done for tile in tiles] == list(range(1, tiles[0].total + 1))
    assert all(tile.box[2] - tile.box[0] == 64 for tile in tiles)
    assert len([tile for tile in tiles if len(tile.prediction)]) > 1
    found = joined(tile.prediction for tile in tiles)
    assert corners(found) == sorted(SPOTS)
    assert (found.masks().any(axis=0) == (spots[..., 0] > 0)).all()
    assert (found.size, len(found.results), len(found.names)) == ((300, 280), 5, 5)


def test_tiles_come_one_by_one_and_together_are_the_prediction(
    streaming: str, spots: Pixels
) -> None:
    with Client(streaming) as client:
        assert_are_the_tiles(list(client.tiles(spots, tile="64", overlap=0.5)), spots)


def test_a_coroutine_gets_the_same(streaming: str, spots: Pixels) -> None:
    async def ask() -> list[Tile]:
        async with AsyncClient(streaming) as client:
            return [tile async for tile in client.tiles(spots, tile="64", overlap=0.5)]

    assert_are_the_tiles(asyncio.run(ask()), spots)


def test_a_tile_without_instances_knows_the_size_of_the_image(
    streaming: str, encode: Callable[..., bytes]
) -> None:
    with Client(streaming) as client:
        (tile,) = client.tiles(encode(np.zeros((40, 50, 3), np.uint8)), tile="64", masks=False)
    assert (len(tile.prediction), tile.prediction.size, tile.box) == (0, (40, 50), (0, 0, 50, 40))


def test_each_image_comes_by_itself_and_a_broken_one_is_an_error(
    streaming: str, spots: Pixels, png: bytes, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(png)
    asked: list[bytes | Pixels | Path] = [png, b"no image", spots, tmp_path / "a.png"]
    with Client(streaming) as client:
        found = dict(client.images(asked, score_threshold=0.5))
    assert sorted(found) == [0, 1, 2, 3]
    assert isinstance(found[1], ImageRefused)
    assert found[1].status == 422
    sizes = [one.size for one in found.values() if isinstance(one, Prediction)]
    assert sorted(sizes) == [(8, 10), (8, 10), (300, 280)]

    async def ask() -> dict[int, Prediction | ClientError]:
        async with AsyncClient(streaming) as later:
            return {number: one async for number, one in later.images(asked)}

    again = asyncio.run(ask())
    assert isinstance(again[1], ImageRefused)
    assert isinstance(again[3], Prediction)
    assert again[3].names == ["red"]


def test_who_stops_reading_stops_the_work(
    streaming: str, spots: Pixels, scheduler: Scheduler
) -> None:
    with Client(streaming) as client:
        tiles = client.tiles(spots, tile="32", overlap=0.8)
        next(tiles)
        tiles.close()  # type: ignore[attr-defined]  # It is a generator.
        time.sleep(0.5)
        assert sum(scheduler.calls.values()) < 200  # of 2 000


def test_images_are_made_smaller_together(serve: Callable[..., str]) -> None:
    """Each is sent as JPEG, and boxes are those of the image as it was given."""
    noise = np.random.default_rng(1).integers(0, 100, (500, 600, 3), np.uint8)
    noise[100:300, 200:500, 0] = 255
    with Client(serve(max_payload_mb=1)) as client:
        found = dict(client.images([noise, noise]))
        (tile,) = client.tiles(np.concatenate([noise, noise]), tile="1200", masks=False)
    for one in found.values():
        assert isinstance(one, Prediction)
        assert one.size == (500, 600)
        assert "JPEG" in one.notes[0]
    assert (tile.prediction.size, tile.box) == ((1000, 600), (0, 0, 600, 1000))


@pytest.mark.parametrize(
    ("lines", "kind", "said"),
    [
        ([tile_entry(1)], IncompleteReply, "ended after 1 entries"),
        ([], IncompleteReply, "ended after 0 entries"),
        ([tile_entry(1), tile_entry(2)[:-9]], IncompleteReply, "ended after 1 entries"),
        (
            [
                entry(index=0, error={"code": "not_ready", "message": "it ends"}, status=503),
                END,
            ],
            ServerUnavailable,
            "it ends",
        ),
        (
            [entry(error={"code": "new", "message": "hangs"}, status=504)],
            ServerUnavailable,
            "hangs",
        ),
        ([entry(error={"code": "new", "message": "broke"})], ServerFailed, "broke"),
        ([b"<html>\n"], InvalidReply, "entry 0"),
        ([entry(index=7, prediction=[])], InvalidReply, "image 7 of 1"),
        ([entry(index=0, size=[8, 10], prediction=[])], InvalidReply, "did not cut"),
        ([entry(index=0, size=[8, 10], tile={"x": 0}, prediction=[])], InvalidReply, "entry 0"),
        ([entry(index=0, error={"code": "new"})], InvalidReply, "entry 0"),
        ([entry(index=0, size=[8, 10], prediction=[1])], InvalidReply, "COCO"),
    ],
    ids=[
        *("cut", "empty", "cut in a line", "error of the image", "error of all", "fault"),
        *("a page", "another image", "no tile", "broken tile", "broken error", "no result"),
    ],
)
def test_what_goes_wrong_in_a_stream_is_said(
    png: bytes, lines: list[bytes], kind: type[ClientError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        list(Client(Script(streamed(*lines))).tiles(png, tile="5"))


def test_what_came_before_the_fault_is_there(png: bytes) -> None:
    tiles = Client(Script(streamed(tile_entry(1), tile_entry(2)))).tiles(png, tile="5")
    assert [next(tiles).done, next(tiles).done] == [1, 2]
    with pytest.raises(IncompleteReply):
        next(tiles)


def test_pieces_of_bytes_need_not_be_entries(png: bytes) -> None:
    whole = tile_entry(1) + tile_entry(2) + END
    pieces = [whole[start : start + 7] for start in range(0, len(whole), 7)]
    found = list(Client(Script(streamed(*pieces))).tiles(png, tile="5"))
    assert [tile.done for tile in found] == [1, 2]


def test_an_entry_without_an_end_is_refused(png: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskrcnn_client.streams.MAX_ENTRY_BYTES", 1000)
    endless = (b"a" * 100 for _ in count())
    script = Script((Reply(200, b"", is_streamed=True), endless))  # type: ignore[arg-type]
    with pytest.raises(InvalidReply, match="an entry of more than"):
        list(Client(script).tiles(png, tile="5"))


def test_a_busy_server_is_asked_again_until_the_stream_begins(
    png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskrcnn_client.retry.FIRST_WAIT_S", 0.001)
    busy = Reply(429, b"busy"), list[bytes]()
    script = Script(busy, ConnectionBroken("reset"), streamed(tile_entry(1), END))
    assert len(list(Client(script).tiles(png, tile="5"))) == 1
    script = Script(streamed(tile_entry(1)), streamed(tile_entry(1), END))
    with pytest.raises(IncompleteReply):
        list(Client(script).tiles(png, tile="5"))
    assert len(script.requests) == 1
    with pytest.raises(ServerUnavailable):
        list(Client(Script(busy), retry_s=0).tiles(png, tile="5"))


@contextmanager
def cutting(answer: bytes) -> Iterator[str]:
    """A server that sends this to one request, and closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve_one() -> None:
            connection, _ = listening.accept()
            with connection:
                while b"\r\n\r\n" not in connection.recv(1 << 20):
                    pass
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 20):
                    pass

        thread = threading.Thread(target=serve_one)
        thread.start()
        yield "http://{}:{}".format(*listening.getsockname())
        thread.join()


HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def test_a_connection_that_is_cut_is_said_with_what_had_come(png: bytes) -> None:
    line = tile_entry(1)
    chunk = b"%x\r\n%s\r\n" % (len(line), line)
    with cutting(HEAD + chunk) as url, Client(url) as client:
        tiles = client.tiles(png, tile="5")
        assert next(tiles).done == 1
        with pytest.raises(IncompleteReply, match=r"after 1 entries: http://.*cut off"):
            next(tiles)

    async def ask(url: str) -> None:
        async with AsyncClient(url) as later:
            async for tile in later.tiles(png, tile="5"):
                assert tile.done == 1

    with cutting(HEAD + chunk) as url, pytest.raises(IncompleteReply, match="after 1 entries"):
        asyncio.run(ask(url))


def test_a_server_that_does_not_stream_is_told_apart(url: str, png: bytes) -> None:
    with Client(url) as client:
        with pytest.raises(InvalidReply, match="maskrcnn-streaming is not installed there"):
            list(client.images([png]))
        with pytest.raises(InvalidOption, match="tile"):
            list(client.tiles(png))
        with pytest.raises(InvalidOption, match="tile"):
            list(client.images([png], tile="64"))


def test_options_are_refused_by_the_server_before_the_stream(streaming: str, png: bytes) -> None:
    with Client(streaming) as client, pytest.raises(InvalidOption, match="max_detections"):
        list(client.tiles(png, tile="64", max_detections=3))


def aws_reply(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {event_stream.CONTENT_TYPE}\r\n"
    head += f"X-Amzn-SageMaker-Content-Type: {LINES}\r\nConnection: close\r\n\r\n"
    return head.encode() + b"".join(event_stream.events(body))


@pytest.fixture
def in_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    def use(address: str) -> None:
        for name, value in {
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": address,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_CONFIG_FILE": str(tmp_path / "absent"),
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            monkeypatch.setenv(name, value)

    return use


def test_an_endpoint_streams_by_its_events(png: bytes, in_aws: Callable[[str], None]) -> None:
    body = tile_entry(1) + tile_entry(2) + END
    with cutting(aws_reply(body)) as url:
        in_aws(url)
        with Client("shapes", region="us-east-1") as client:
            assert [tile.done for tile in client.tiles(png, tile="5")] == [1, 2]

    async def ask() -> list[int]:
        async with AsyncClient("shapes", region="us-east-1") as later:
            return [tile.done async for tile in later.tiles(png, tile="5")]

    with cutting(aws_reply(body)) as url:
        in_aws(url)
        assert asyncio.run(ask()) == [1, 2]


def test_predictions_of_different_images_are_not_joined(png: bytes) -> None:
    lines = [entry(index=0, size=[8, height], prediction=[]) for height in (10, 11)]
    found = [one for _, one in Client(Script(streamed(*lines, END))).images([png])]
    with pytest.raises(ValueError, match="of none or several"):
        joined(one for one in found if isinstance(one, Prediction))
    with pytest.raises(ValueError, match="of none or several"):
        joined([])
