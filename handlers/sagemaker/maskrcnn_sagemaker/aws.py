"""AWS through boto3, which is imported on first use."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from maskrcnn_server.errors import DeploymentFailed, InvalidSetting
from maskrcnn_server.optional import required

Parameters: TypeAlias = Mapping[str, Any]
"""Parameters of a call under AWS's names: JSON values, and a Path for the content of a file."""

RUNTIME = "sagemaker-runtime"
READ_TIMEOUT_S = 300
MISSING_CODES = frozenset(
    {
        "404",
        "NoSuchKey",
        "NotFound",
        "ObjectNotFoundException",
        "ResourceNotFound",
        "ResourceNotFoundException",
    }
)
MISSING = re.compile(r"Could not find|does not exist", re.IGNORECASE)
"""Messages that mean "does not exist", for which SageMaker has no error code but
ValidationException."""
HINTS = {
    r"NoCredentials|PartialCredentials": "run `aws configure`, or name a profile by --profile",
    r"ExpiredToken|InvalidClientTokenId|UnrecognizedClient|InvalidAccessKeyId|Signature": (
        "the credentials are not valid, or not any more: log in again"
    ),
    r"AccessDenied|UnauthorizedOperation|\b403\b": (
        "`deploy --show-policy` prints the rights that are needed"
    ),
    r"assume role|execution role|role ARN|PassRole": (
        "the role has to exist and trust sagemaker.amazonaws.com: `deploy --show-policy`"
    ),
    r"ResourceLimitExceeded|LimitExceeded|quota": (
        "ask for more in the console's Service Quotas, or take another instance type"
    ),
    r"EndpointConnectionError|ConnectTimeout": "is the region right, and the network there?",
}
"""Advice, by a pattern of the code or message of an error."""


@dataclass(frozen=True)
class FromReply:
    """A value of the reply to the call before, in the place of a parameter."""

    key: str

    def __str__(self) -> str:
        return f"<{self.key} of the reply before>"


@dataclass(frozen=True)
class Call:
    """A call of an AWS API: service, operation and parameters."""

    service: str
    operation: str
    parameters: Parameters

    @property
    def title(self) -> str:
        """Operation, and the name of its subject if there is one."""
        named = (v for k, v in self.parameters.items() if k.endswith("Name"))
        return f"{self.operation} {next(named, '')}".rstrip()

    def after(self, reply: Any) -> "Call":
        """The call with the values of the reply to the call before."""
        return replace(self, parameters=_filled(self.parameters, reply))

    def shown(self) -> dict[str, Any]:
        """The call as JSON, with the name of a file in place of its content."""
        parameters = json.loads(json.dumps(self.parameters, default=str))
        return {"service": self.service, "operation": self.operation, "parameters": parameters}


class Reader(Protocol):
    """Read access to an account."""

    def find(self, call: Call) -> Any | None:
        """The reply; None if the subject of the call does not exist."""

    def pages(self, call: Call, key: str) -> Iterator[Any]:
        """Items under `key` on all pages of a list."""


class Nothing:
    """An empty account."""

    def find(self, call: Call) -> None:  # noqa: ARG002 (a Reader's)
        return None

    def pages(self, call: Call, key: str) -> Iterator[Any]:  # noqa: ARG002 (a Reader's)
        return iter(())


class Aws:
    """A session with AWS; boto3 finds credentials and region.

    `runtime_url` is the address of a server that replaces SageMaker's for invocations; calls to it
    are not signed and need no credentials.
    """

    def __init__(
        self, region: str | None, profile: str | None = None, runtime_url: str | None = None
    ) -> None:
        boto3 = required("boto3", "maskrcnn-server[sagemaker]")
        import botocore.exceptions

        try:
            self._session = boto3.Session(profile_name=profile, region_name=region)
        except botocore.exceptions.BotoCoreError as error:
            raise InvalidSetting(str(error)) from error
        if self._session.region_name is None and runtime_url is None:
            raise InvalidSetting("no region: name it by --region or AWS_DEFAULT_REGION")
        self._runtime_url = runtime_url
        self._clients: dict[str, Any] = {}

    @property
    def has_credentials(self) -> bool:
        """Whether boto3 finds credentials, valid or not."""
        return self._session.get_credentials() is not None

    def call(self, call: Call) -> Any:
        """The reply. Raises DeploymentFailed with the message of AWS, and advice."""
        import botocore
        import botocore.exceptions

        parameters = dict(call.parameters)
        files = {k: v.open("rb") for k, v in parameters.items() if isinstance(v, Path)}
        try:
            method = getattr(self._client(call.service), botocore.xform_name(call.operation))
            return method(**{**parameters, **files})
        except botocore.exceptions.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            said = _said(error.response)
            missing = code in MISSING_CODES or MISSING.search(said)
            kind = Missing if missing else DeploymentFailed
            raise kind(f"{call.operation}: {_hinted(said)}") from error
        except botocore.exceptions.BotoCoreError as error:
            said = f"{type(error).__name__}: {error}"
            raise DeploymentFailed(f"{call.operation}: {_hinted(said)}") from error
        finally:
            for file in files.values():
                file.close()

    def find(self, call: Call) -> Any | None:
        try:
            return self.call(call)
        except Missing:
            return None

    def pages(self, call: Call, key: str) -> Iterator[Any]:
        token: dict[str, str] = {}
        while True:
            page = self.call(Call(call.service, call.operation, {**call.parameters, **token}))
            yield from page[key]
            if not page.get("NextToken"):
                return
            token = {"NextToken": page["NextToken"]}

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            make = self._runtime if service == RUNTIME else self._session.client
            self._clients[service] = make(service)
        return self._clients[service]

    def _runtime(self, service: str) -> Any:
        """A client for invocations that keeps the error body of a server of this project."""
        import botocore
        from botocore.config import Config

        local: dict[str, Any] = {}
        config = Config(read_timeout=READ_TIMEOUT_S)
        if self._runtime_url is not None:
            region = self._session.region_name or "us-east-1"
            local = {"endpoint_url": self._runtime_url, "region_name": region}
            unsigned = Config(
                signature_version=botocore.UNSIGNED, retries={"total_max_attempts": 1}
            )
            config = config.merge(unsigned)
        client = self._session.client(service, config=config, **local)

        def keep(http_response: Any, parsed: dict[str, Any], **_: Any) -> None:
            if http_response.status_code >= 300:
                parsed.setdefault("OriginalMessage", http_response.text)

        client.meta.events.register("after-call", keep)
        return client


class Missing(DeploymentFailed):
    """The subject of a call does not exist."""


def _filled(value: Any, reply: Any) -> Any:
    if isinstance(value, FromReply):
        return reply[value.key]
    if isinstance(value, Mapping):
        return {name: _filled(item, reply) for name, item in value.items()}
    return [_filled(item, reply) for item in value] if isinstance(value, list) else value


def _said(response: Mapping[str, Any]) -> str:
    """The message of an error; the container's own, if there is one."""
    error = response.get("Error", {})
    try:
        ours = json.loads(response["OriginalMessage"])["error"]
        return f"{ours['code']}: {ours['message']}"
    except (KeyError, TypeError, ValueError):
        return f"{error.get('Code', 'error')}: {error.get('Message', '')}"


def _hinted(said: str) -> str:
    hint = next((hint for words, hint in HINTS.items() if re.search(words, said)), None)
    line = " ".join(said.split())
    return line if hint is None else f"{line} ({hint})"
