"""The gRPC transport: what is special about it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import descriptor_pb2

from maskrcnn_handlers.service import Service
from maskrcnn_protocols.open_inference.messages import message
from maskrcnn_server import settings as environment
from maskrcnn_server.errors import StartupError
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.plugins import Plugins

if TYPE_CHECKING:
    from protocol_fixtures import Served

FOLDER = Path(str(files("maskrcnn_protocols.open_inference")))


def call(address: str, method: str, reply: str, request: Any, **options: Any) -> Any:
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(
            method,
            request_serializer=lambda one: one.SerializeToString(),
            response_deserializer=message(reply).FromString,
        )
        return ask(request, timeout=20, **options)


def health(address: str, service: str = "") -> str:
    request = message("grpc.health.v1.HealthCheckRequest")(service=service)
    reply = "grpc.health.v1.HealthCheckResponse"
    found = call(address, "/grpc.health.v1.Health/Check", reply, request)
    return str(found.DESCRIPTOR.enum_types[0].values_by_number[found.status].name)


def infer(address: str, request: Any, **options: Any) -> Any:
    reply = "inference.ModelInferResponse"
    return call(address, "/inference.GRPCInferenceService/ModelInfer", reply, request, **options)


def asked(*files: bytes) -> Any:
    request = message("inference.ModelInferRequest")(model_name="colours")
    contents = {"bytes_contents": files}
    request.inputs.add(name="image", datatype="BYTES", shape=[len(files)], contents=contents)
    return request


def test_the_compiled_file_is_that_of_the_sources(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools.protoc")
    target = tmp_path / "messages.binpb"
    names = ("open_inference.proto", "health.proto")
    # The compiler does not bear other libraries' protobuf in its process.
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{FOLDER}"]
    subprocess.run([*command, f"--descriptor_set_out={target}", *names], check=True)
    compiled = (FOLDER / "messages.binpb").read_bytes()
    read = descriptor_pb2.FileDescriptorSet.FromString
    assert read(target.read_bytes()) == read(compiled)


@pytest.mark.parametrize("module", ["service_pb2", "model_config_pb2"])
def test_fields_have_tritons_numbers_and_types(module: str) -> None:
    theirs = pytest.importorskip(f"tritonclient.grpc.{module}").DESCRIPTOR
    ours = descriptor_pb2.FileDescriptorSet.FromString((FOLDER / "messages.binpb").read_bytes())
    compared = 0
    for one in ours.file[0].message_type:
        other = theirs.message_types_by_name.get(one.name)
        if other is None:
            continue
        for field in one.field:
            same = other.fields_by_name[field.name]
            assert (same.number, same.type) == (field.number, field.type), field
            compared += 1
    assert compared > 10


def test_contents_may_be_typed(served: Served, picture: bytes) -> None:
    assert infer(served.grpc(), asked(picture)).outputs[0].shape == [3, 4]
    request = message("inference.ModelInferRequest")(model_name="colours")
    contents = {"uint_contents": [255, 0, 0] * 4}
    request.inputs.add(name="image", datatype="UINT8", shape=[1, 2, 2, 3], contents=contents)
    assert infer(served.grpc(), request).outputs[0].shape == [1, 4]
    request.inputs[0].contents.uint_contents[0] = 256
    with pytest.raises(grpc.RpcError, match="are not read"):
        infer(served.grpc(), request)


def test_health_follows_the_server(served: Served) -> None:
    assert health(served.grpc()) == "SERVING"
    assert health(served.grpc(), "inference.GRPCInferenceService") == "SERVING"
    with pytest.raises(grpc.RpcError, match="no such service"):
        health(served.grpc(), "another")


def test_a_server_that_loads_is_not_serving(
    serve: Callable[..., Served], settings: environment.Settings
) -> None:
    service = Service(Plugins().formats(), settings, Models.single())
    served = serve(service, PROTOCOLS_GRPC_PORT="0")
    assert health(served.grpc()) == "NOT_SERVING"
    with pytest.raises(grpc.RpcError) as raised:
        infer(served.grpc(), asked(b"x"))
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_key_is_needed_except_for_health(
    serve: Callable[..., Served], scheduler: Scheduler, picture: bytes
) -> None:
    settings = environment.read(api_key="secret")
    service = Service(Plugins().formats(), settings, Models.single(scheduler))
    served = serve(service, PROTOCOLS_GRPC_PORT="0")
    assert health(served.grpc()) == "SERVING"
    for given in ((), (("authorization", "Bearer secre"),)):
        with pytest.raises(grpc.RpcError) as raised:
            infer(served.grpc(), asked(picture), metadata=given)
        assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    key = (("authorization", "Bearer secret"),)
    assert infer(served.grpc(), asked(picture), metadata=key).outputs


def test_a_message_larger_than_a_body_may_be_is_refused(served: Served) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        infer(served.grpc(), asked(b"x" * (3 << 20)))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_two_servers_do_not_share_a_port(
    served: Served, serve: Callable[..., Served], service: Service
) -> None:
    port = served.grpc().rsplit(":", 1)[1]
    with pytest.raises(StartupError, match=f"port {port}"):
        serve(service, PROTOCOLS_GRPC_PORT=port)


def test_none_listens_unless_a_setting_says_so(
    serve: Callable[..., Served], service: Service
) -> None:
    assert not serve(service).host.at_end
