"""AWS, by way of boto3, which is imported when something is asked of it."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from maskrcnn_server.errors import DeploymentFailed, InvalidSetting
from maskrcnn_server.optional import required

Parameters: TypeAlias = Mapping[str, Any]
"""Of a call, by AWS's names: what JSON can hold, and a Path where a file's content goes."""

RUNTIME = "sagemaker-runtime"
READ_TIMEOUT_S = 300
MISSING_CODES = frozenset(
    {"404", "NoSuchKey", "NotFound", "ObjectNotFoundException", "ResourceNotFoundException"}
)
MISSING = re.compile(r"Could not find|does not exist", re.IGNORECASE)
"""SageMaker has no code of its own for what is not there: it is a ValidationException."""
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
"""What to do, by what an error's code or words match."""


@dataclass(frozen=True)
class Call:
    """A call of the API: `sagemaker`, `CreateModel` and its parameters."""

    service: str
    operation: str
    parameters: Parameters

    @property
    def title(self) -> str:
        """The operation, and the name of what it is about, if that has one."""
        named = (v for k, v in self.parameters.items() if k.endswith("Name"))
        return f"{self.operation} {next(named, '')}".rstrip()

    def shown(self) -> dict[str, Any]:
        """The call as JSON; a file's content as the file's name."""
        parameters = json.loads(json.dumps(self.parameters, default=str))
        return {"service": self.service, "operation": self.operation, "parameters": parameters}


class Reader(Protocol):
    """Says what is there."""

    def find(self, call: Call) -> Any | None:
        """The reply, or None if what the call is about does not exist."""

    def pages(self, call: Call, key: str) -> Iterator[Any]:
        """The items under `key` on every page of a list."""


class Nothing:
    """An account with nothing in it."""

    def find(self, call: Call) -> None:  # noqa: ARG002 (a Reader's)
        return None

    def pages(self, call: Call, key: str) -> Iterator[Any]:  # noqa: ARG002 (a Reader's)
        return iter(())


class Aws:
    """A session with AWS: credentials come from where boto3 looks for them, so does the region.

    `runtime_url` is the address of a server that takes the place of SageMaker's own for
    invocations; it is sent no signature, and needs no credentials.
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
        """Whether boto3 finds any, valid or not."""
        return self._session.get_credentials() is not None

    def call(self, call: Call) -> Any:
        """The reply. Raises DeploymentFailed with what AWS said, and what to do."""
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
            kind = _Missing if missing else DeploymentFailed
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
        except _Missing:
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
        """A client for invocations, which keeps what a server of this project says whole."""
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


class _Missing(DeploymentFailed):
    """What a call is about is not there."""


def _said(response: Mapping[str, Any]) -> str:
    """What a refusal says: the container's own words, if it is the container's."""
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
