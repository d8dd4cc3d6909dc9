"""The server as an application of Ray Serve: `serve run maskrcnn_ray.serve:app model=ADDRESS`."""

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from maskrcnn_handlers.answer.reply import refusal
from maskrcnn_handlers.http.bodies import Bodies
from maskrcnn_handlers.http.host import response
from maskrcnn_predict.local import ModelSpec
from maskrcnn_ray.exchange import Forwarded, Replied
from maskrcnn_ray.replica import Replica
from maskrcnn_server.errors import MaskRCNNError, NotReady, PayloadTooLarge

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

QUEUED = 2
"""Number of requests that wait at each gate, for each that the replicas take."""
MAX_GATE_REQUESTS = 1000
"""Number of requests that a gate has at a time."""
RETRY_AFTER_S = 1
"""Time after which a client sends a request again whose replica ended."""
HOP_HEADERS = (b"connection", b"transfer-encoding", b"content-length")
"""Headers of one connection, which are not passed on."""

logger = logging.getLogger(__name__)


class Arguments(BaseModel):
    """Arguments of `serve run`. Other settings are variables of the environment of the replicas."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    """Folder, archive, `s3://` or `https://` address, or name from the zoo."""
    backend: str | None = None
    min_replicas: int = Field(1, ge=1)
    max_replicas: int = Field(8, ge=1)
    cpus: float = Field(1, gt=0)
    """Number of CPUs of a replica, and of its compute threads."""
    gpus: float = Field(0, ge=0)
    requests: float = Field(2, gt=0)
    """Number of requests that a replica has on average, waiting or computed, before Ray Serve
    starts another."""
    gates: int = Field(2, ge=1)
    """Number of processes that take requests, and give them to replicas."""
    drain_s: float = Field(30, gt=0)
    """Time in which a replica that ends finishes the requests that it has."""


class BodyLimits(NamedTuple):
    """Limits of the bodies at one gate."""

    max_body_mb: float
    max_bodies_mb: float
    """MiB of all bodies that the gate has at a time."""
    timeout_s: float
    """Seconds in which a body must arrive."""


class Gate:
    """Takes requests and gives them to replicas. It has no model, so it does not end with one.

    A request whose replica ended is answered by 503 with Retry-After, as are those that find every
    replica busy, and clients send it again.
    """

    def __init__(self, replicas: Any, limits: BodyLimits) -> None:
        self._replicas, self._max_body_mb = replicas, limits.max_body_mb
        most = int(max(limits.max_bodies_mb, limits.max_body_mb) * 2**20)
        self._bodies = Bodies(most, limits.timeout_s, self._check_length)

    async def __call__(self, request: "Request") -> Response:
        """The reply of a replica."""
        try:
            async with self._bodies.body(request) as body:
                return await self._passed_on(request, body)
        except ClientDisconnect:
            return Response()
        except MaskRCNNError as error:
            return response(refusal(error))

    def _check_length(self, length: int) -> None:
        if length > self._max_body_mb * 2**20:
            raise PayloadTooLarge(f"the body is larger than {self._max_body_mb:g} MiB")

    async def _passed_on(self, request: "Request", body: bytes) -> Response:
        """The reply of a replica to a request with this body."""
        asked = Forwarded(
            request.method,
            request.url.path,
            request.url.query.encode(),
            [pair for pair in request.headers.raw if pair[0] not in HOP_HEADERS]
            + [(b"content-length", str(len(body)).encode())],
            body,
        )
        try:
            reply: Replied = await self._replicas.remote(asked)
        except (RayActorError, DeploymentUnavailableError) as error:
            logger.warning("a replica ended: %s", type(error).__name__)
            return response(refusal(_again("the replica ended")))
        except BackPressureError:
            return response(refusal(_again("every replica is busy")))
        return _Raw(reply)


def _again(reason: str) -> NotReady:
    return NotReady(f"{reason}; send the request again", retry_after_s=RETRY_AFTER_S)


class _Raw(Response):
    """A reply as it is."""

    def __init__(self, reply: Replied) -> None:
        super().__init__(reply.body, reply.status)
        self._reply = reply

    async def __call__(self, _scope: "Scope", _receive: "Receive", send: "Send") -> None:
        """Send it."""
        start = {"type": "http.response.start", "status": self._reply.status}
        await send({**start, "headers": self._reply.headers})
        await send({"type": "http.response.body", "body": self._reply.body})


def app(args: Arguments) -> serve.Application:
    """The application. Raises InvalidSetting."""
    spec = ModelSpec(address=args.model, backend=args.backend, threads=max(1, int(args.cpus)))
    settings = spec.settings()
    at_once = settings.model.max_waiting + 1
    replicas = serve.deployment(
        Replica,
        name="model",
        max_ongoing_requests=at_once,
        max_queued_requests=QUEUED * at_once * args.max_replicas,
        autoscaling_config={
            "min_replicas": args.min_replicas,
            "max_replicas": args.max_replicas,
            "target_ongoing_requests": args.requests,
        },
        ray_actor_options={"num_cpus": args.cpus, "num_gpus": args.gpus},
        health_check_period_s=5,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=args.drain_s,
    )
    gate = serve.deployment(
        Gate,
        name="gate",
        num_replicas=args.gates,
        max_ongoing_requests=MAX_GATE_REQUESTS,
        ray_actor_options={"num_cpus": 0},
        graceful_shutdown_timeout_s=args.drain_s,
    )
    limits = BodyLimits(settings.max_payload_mb, settings.max_bodies_mb, settings.body_timeout_s)
    return gate.bind(replicas.bind(spec), limits)
