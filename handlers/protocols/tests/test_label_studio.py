"""The ML backend of Label Studio, by the messages that Label Studio sends."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

import httpx
import numpy as np
import pytest
from label_studio_converter import brush

from maskrcnn_handlers.service import Service
from maskrcnn_protocols.label_studio import labelling
from maskrcnn_server import settings as environment
from maskrcnn_server.errors import RequestError
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.plugins import Plugins

if TYPE_CHECKING:
    from protocol_fixtures import Contract, Served

CONFIG = """
<View>
  <Image name="photo" value="$file"/>
  <BrushLabels name="brush" toName="photo">
    <Label value="red"/> <Label value="plant" predicted_values="green, tree"/>
  </BrushLabels>
  <RectangleLabels name="box" toName="photo"><Label value="Blue" alias="b"/></RectangleLabels>
  <PolygonLabels name="outline" toName="photo"><Label value="red"/></PolygonLabels>
  <Choices name="choice" toName="photo"><Choice value="red"/></Choices>
</View>
"""


class Tool(BaseHTTPRequestHandler):
    """Plays Label Studio's files, which need its token."""

    picture: ClassVar[bytes] = b""
    seen: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        given = self.headers.get("Authorization")
        self.seen.append((self.path, given))
        allowed = given == "Token secret" and self.path == "/data/upload/1/a.png"
        # Its framework writes nothing but what it calls by name.
        is_accepted = self.headers.get("Accept") == "*/*"
        self.send_response((200 if allowed else 401) if is_accepted else 406)
        self.end_headers()
        if allowed:
            self.wfile.write(self.picture)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def tool(picture: bytes) -> Iterator[str]:
    Tool.picture = picture
    Tool.seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Tool) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def served(serve: Callable[..., Served], service: Service, tool: str) -> Served:
    variables = {"PROTOCOLS_IMAGE_ADDRESSES": tool, "PROTOCOLS_PRIVATE_ADDRESSES": "true"}
    return serve(service, **variables)


@pytest.fixture
def connected(served: Served, tool: str) -> str:
    """The address of the backend, which Label Studio has connected."""
    url = f"{served.url}/label-studio"
    said = {"project": "7.1700000000", "schema": CONFIG, "hostname": tool}
    reply = httpx.post(f"{url}/setup", json=said | {"access_token": "secret"})
    assert reply.json() == {"model_version": "colours"}
    return url


def predicted(url: str, *files: str, config: str = CONFIG, project: str = "7.1700000000") -> Any:
    tasks = [{"id": i, "data": {"file": file}} for i, file in enumerate(files)]
    asked = {"tasks": tasks, "label_config": config, "project": project, "params": {}}
    return httpx.post(f"{url}/predict", json=asked)


def test_it_is_up(served: Served) -> None:
    for path in ("/health", "/"):
        assert httpx.get(f"{served.url}/label-studio{path}").json()["status"] == "UP"
    assert httpx.get(f"{served.url}/label-studio/versions").json() == {"versions": ["colours"]}


def test_regions_are_the_notebooks_masks(connected: str, notebook: Contract) -> None:
    (result,) = predicted(connected, "/data/upload/1/a.png").json()["results"]
    assert Tool.seen == [("/data/upload/1/a.png", "Token secret")]
    assert result["model_version"] == "colours"
    assert result["score"] == pytest.approx(np.mean(notebook.scores))
    regions = {(one["from_name"], one["to_name"], one["type"]): one for one in result["result"]}
    red = regions.pop(("brush", "photo", "brushlabels"), None)
    brushes = [one for one in result["result"] if one["type"] == "brushlabels"]
    assert [one["value"]["brushlabels"] for one in brushes] == [["red"], ["plant"]]
    for one, mask in zip(brushes, notebook.masks, strict=False):
        pixels = brush.decode_rle(one["value"]["rle"]).reshape(60, 80, 4)[:, :, 3]
        assert np.array_equal(pixels > 0, mask)
        assert (one["original_height"], one["original_width"]) == (60, 80)
    assert red is not None
    box = regions["box", "photo", "rectanglelabels"]["value"]
    assert box["rectanglelabels"] == ["Blue"]
    corners = [box["x"] * 0.8, box["y"] * 0.6, box["width"] * 0.8, box["height"] * 0.6]
    expected = notebook.boxes[2] - [0, 0, *notebook.boxes[2][:2]]
    assert corners == pytest.approx(expected, abs=1e-3)
    outline = np.array(regions["outline", "photo", "polygonlabels"]["value"]["points"])
    ys, xs = np.nonzero(notebook.masks[0])
    corners = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    scaled = outline * [0.8, 0.6]
    assert [*scaled.min(0), *scaled.max(0)] == pytest.approx(corners, abs=1e-3)


def test_every_task_has_a_prediction(connected: str) -> None:
    files = ["/data/upload/1/a.png", "/data/upload/1/absent.png", *["/data/upload/1/a.png"] * 4]
    results = predicted(connected, *files).json()["results"]
    assert [len(one["result"]) for one in results] == [4, 0, 4, 4, 4, 4]
    assert "answers 401" in results[1]["error"]["message"]


def test_an_image_may_be_in_the_task(connected: str, picture: bytes) -> None:
    data = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    (result,) = predicted(connected, data).json()["results"]
    assert len(result["result"]) == 4


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("http://127.0.0.1:1/data/upload/1/a.png", "fetches no images from there"),
        ("//evil.example/a.png", "fetches no images from there"),
        ("file:///etc/passwd", "begins with https://"),
        ("/data/../a.png", "answers 401"),
        ("data:image/png;base64,%", "not base64"),
        ("/data/absent.png", "answers 401"),
    ],
)
def test_nothing_else_is_fetched(connected: str, file: str, said: str) -> None:
    reply = predicted(connected, file)
    assert reply.status_code == 400
    assert said in reply.json()["error"]["message"]


def test_another_host_does_not_get_the_token(connected: str, tool: str) -> None:
    """Nor does a project that has not been connected have one."""
    other = tool.replace("127.0.0.1", "localhost")
    predicted(connected, f"{other}/data/upload/1/a.png")
    predicted(connected, f"{tool}/data/upload/1/a.png", project="8.1")
    assert [token for _, token in Tool.seen] == [None]


def test_a_path_needs_a_connection(connected: str) -> None:
    reply = predicted(connected, "/data/upload/1/a.png", project="8.1")
    assert "connect it anew" in reply.json()["error"]["message"]


def test_a_webhook_is_taken(connected: str) -> None:
    reply = httpx.post(f"{connected}/webhook", json={"action": "ANNOTATION_CREATED"})
    assert reply.status_code == 201


def test_the_key_may_be_a_password(serve: Callable[..., Served], scheduler: Scheduler) -> None:
    settings = environment.read(api_key="secret")
    served = serve(Service(Plugins().formats(), settings, Models.single(scheduler)))
    url = f"{served.url}/label-studio/health"
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, auth=("anybody", "wrong")).status_code == 401
    assert httpx.get(url, headers={"Authorization": "Basic %"}).status_code == 401
    assert httpx.get(url, auth=("anybody", "secret")).status_code == 200
    assert httpx.get(url, headers={"Authorization": "Bearer secret"}).status_code == 200


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><View>&b;</View>'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "document types"),
        ('<!DOCTYPE x SYSTEM "file:///etc/passwd"><View/>', "document types"),
        ("<View>&undefined;</View>", "not XML"),
        ("<View>", "not XML"),
        ("", "not XML"),
        ("<View><Image name='a' value='$b'/></View>", "no BrushLabels"),
        ("<View>" + "<a/>" * 30_000 + "</View>", "more than 20000 tags"),
        ("<a>" * 30_000, "more than 20000 tags"),
        ("x" * (2 << 20), "more than 1048576 characters"),
        ("<?xml version='1.0' encoding='utf-16'?><View/>", "no BrushLabels"),
    ],
)
def test_a_hostile_configuration_is_refused(text: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        labelling.parse(text)


def test_labels_are_found_by_name_or_predicted_value() -> None:
    config = labelling.parse(CONFIG)
    assert config.images == {"photo": "file"}
    brushes, boxes, outlines = config.controls
    assert [brushes.label(n) for n in ("red", "RED", "tree", "plant", "blue")] == [
        *("red", "red", "plant", "plant", None)
    ]
    assert (boxes.label("blue"), outlines.label("red")) == ("Blue", "red")
