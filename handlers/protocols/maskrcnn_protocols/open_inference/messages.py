"""The messages and methods of the gRPC transport, from `messages.binpb`.

The file is the compiled `open_inference.proto` and `health.proto`:
`protoc --descriptor_set_out=messages.binpb open_inference.proto health.proto`.
The messages have a pool of their own: clients in the same process have others of the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Handler: TypeAlias = Callable[[Any, grpc.ServicerContext], Any]


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    compiled = files(__package__).joinpath("messages.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(compiled).file:
        pool.Add(file)
    return pool


@cache
def message(name: str) -> Any:
    """The class of a message by its full name, such as `inference.ModelInferRequest`."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(name))


def service(name: str, handlers: Mapping[str, Handler]) -> grpc.GenericRpcHandler:
    """A service by its full name, answered by `handlers`, one for each of its methods."""
    methods = {
        method.name: grpc.unary_unary_rpc_method_handler(
            handlers[method.name],
            request_deserializer=message(method.input_type.full_name).FromString,
            response_serializer=message(method.output_type.full_name).SerializeToString,
        )
        for method in _pool().FindServiceByName(name).methods
    }
    return grpc.method_handlers_generic_handler(name, methods)
