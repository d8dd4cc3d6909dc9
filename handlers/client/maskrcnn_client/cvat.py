"""Automatic annotation in CVAT, without nuclio: an auto-annotation function over the client.

`cvat-cli task auto-annotate 7 --function-module maskrcnn_client.cvat -p url=str:http://HOST:8080`
annotates a task from any machine; `cvat-cli function create-native` and `run-agent`, with the same
options, offer it to everybody in CVAT. Needs the extra `[cvat]`.

Source: https://docs.cvat.ai/docs/api_sdk/sdk/auto-annotation/
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np

from maskrcnn_client.client import Client
from maskrcnn_client.errors import InvalidReply, ServerUnreachable
from maskrcnn_client.libraries import required

if TYPE_CHECKING:
    import PIL.Image
    from numpy.typing import NDArray

TIMEOUT_S = 30
MIN_CORNERS = 3
TOLERANCE = 0.5
"""Distance in pixels by which a polygon may differ from the outline of a mask."""


def create(
    url: str,
    *,
    classes: str = "",
    api_key: str = "",
    masks: bool = True,
    score_threshold: float = 0.0,
) -> Function:
    """The function that asks the server at `url`; `cvat-cli` calls this with its `-p` options.

    `classes`: names of classes with commas between them, those alone. Empty: every class that the
    server tells (of one with maskrcnn-protocols). `masks` False: rectangles. `score_threshold`: for
    runs that name no threshold; 0: the server's. Raises InvalidReply if nobody tells the classes.
    """
    names = [one.strip() for one in classes.split(",") if one.strip()]
    client = Client(url, api_key=api_key or None)
    return Function(client, names or told(url, api_key), masks, score_threshold or None)


class Function:
    """A detection function of CVAT, which finds instances of `names`."""

    def __init__(
        self, client: Client, names: Sequence[str], masks: bool, score_threshold: float | None
    ) -> None:
        self._client = client
        self._cvat = required("cvat_sdk.auto_annotation", "cvat-sdk", "cvat", "CVAT")
        self._encode_mask = required("cvat_sdk.masks", "cvat-sdk", "cvat", "CVAT").encode_mask
        self._ids = {name: number for number, name in enumerate(names)}
        self._masks = masks
        self._score_threshold = score_threshold

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @property
    def spec(self) -> Any:
        """The labels, in CVAT's form."""
        kind = "any" if self._masks else "rectangle"
        labels = [
            self._cvat.label_spec(name, number, type=kind) for name, number in self._ids.items()
        ]
        return self._cvat.DetectionFunctionSpec(labels=labels)

    def detect(self, context: Any, image: PIL.Image.Image) -> list[Any]:
        """The shapes in an image, best first: masks, or polygons if the context wants them.

        Raises what `Client.predict` raises.
        """
        given = context.conf_threshold
        found = self._client.predict(
            image,
            masks=self._masks,
            classes=list(self._ids),
            score_threshold=self._score_threshold if given is None else given,
        )
        if not (self._masks and found.has_masks):
            return [
                self._cvat.rectangle(self._ids[name], box.tolist())
                for name, box in zip(found.names, found.boxes, strict=True)
            ]
        shapes: list[Any] = []
        for name, mask in zip(found.names, found.each_mask(), strict=True):
            number = self._ids[name]
            if context.conv_mask_to_poly:
                shapes += [self._cvat.polygon(number, points) for points in outlines(mask)]
            elif mask.any():
                shapes.append(self._cvat.mask(number, self._encode_mask(mask)))
        return shapes


def outlines(mask: NDArray[np.bool_]) -> Iterator[list[float]]:
    """The outline x1, y1, x2, y2, ... of each part of a mask, without holes."""
    cv2 = required("cv2", "OpenCV", "cvat", "a polygon")
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        simple = cv2.approxPolyDP(contour, TOLERANCE, True).reshape(-1, 2)
        if len(simple) >= MIN_CORNERS:
            yield (simple + 0.5).ravel().tolist()


def told(url: str, api_key: str) -> list[str]:
    """The classes of the server's model, or its first one. Raises InvalidReply without them."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S) as client:
            index = client.post("/v2/repository/index").raise_for_status().json()
            path = f"/v2/models/{index[0]['name']}/config"
            parameters = client.get(path).raise_for_status().json()["parameters"]
            return [str(name) for name in json.loads(parameters["classes"]["string_value"])]
    except httpx.TransportError as error:
        raise ServerUnreachable(f"{url}: {error}") from None
    except (httpx.HTTPStatusError, ValueError, LookupError, TypeError):
        raise InvalidReply(
            f"{url} does not tell its classes: name them (-p classes=str:person,car), or install "
            "maskrcnn-protocols there"
        ) from None
