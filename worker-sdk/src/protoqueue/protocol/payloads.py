"""Payloads: encoding a producer's values, and decoding them as a handler's annotation says."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError, Message
from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from protoqueue.errors import ConfigurationError, InvalidTask, UndecodableTask

JSON = "application/json"
BYTES = "application/octet-stream"
PROTOBUF = "application/protobuf"

Decoder: TypeAlias = Callable[[bytes, str], Any]
"""Turns a payload's bytes and content type into what a handler takes; raises UndecodableTask."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A payload that is bytes already, and how they are to be read: sent as it is."""

    data: bytes
    content_type: str


def encode_payload(payload: Any) -> tuple[bytes, str]:
    """The bytes and the content type of a payload; raises InvalidTask for what is neither bytes, protobuf nor JSON."""
    if isinstance(payload, bytes | bytearray | memoryview):
        return bytes(payload), BYTES
    if isinstance(payload, Encoded):
        return payload.data, payload.content_type
    if isinstance(payload, Message):
        return payload.SerializeToString(), f"{PROTOBUF}; type={payload.DESCRIPTOR.full_name}"
    try:
        by_alias = not isinstance(payload, BaseModel) or _reads_its_aliases(type(payload))
        encoded = to_json(payload, inf_nan_mode="constants", by_alias=by_alias)
        if b"NaN" in encoded or b"Infinity" in encoded:
            _refuse_unless_in_strings(encoded)
        return encoded, JSON
    except (PydanticSerializationError, ValueError, TypeError) as error:
        raise InvalidTask(
            f"a payload of type {type(payload).__name__} cannot be encoded ({error}): "
            "pass bytes, a protobuf message, a pydantic model or a JSON-serializable value"
        ) from error


@functools.cache
def _reads_its_aliases(model: type[BaseModel]) -> bool:
    """Whether it reads the names it writes: not with a `serialization_alias` or `validation_alias` alone."""
    try:
        reads, writes = (model.model_json_schema(mode=mode) for mode in ("validation", "serialization"))
    except Exception:  # there are models without a schema
        return True
    return _names(reads) <= _names(writes)


def _names(schema: Any) -> set[str]:
    """The properties of it and what it refers to."""
    parts = [schema, *schema.get("$defs", {}).values()]
    return {f"{part.get('title')}.{name}" for part in parts for name in part.get("properties", {})}


def _refuse_unless_in_strings(encoded: bytes) -> None:
    try:
        from_json(encoded, allow_inf_nan=False)
    except ValueError:
        raise ValueError("JSON has no NaN or infinity, and other languages reject them") from None


def decoder_for(annotation: Any) -> Decoder:
    """How a payload becomes what `annotation` says: bytes, a protobuf message, or anything pydantic can validate.

    Without an annotation (`inspect.Parameter.empty` or `Any`) the content type decides. Raises ConfigurationError for
    an annotation that no payload can become.
    """
    if annotation is inspect.Parameter.empty or annotation is Any:
        return _decode_as_sent
    if annotation is bytes:
        return _decode_bytes
    if isinstance(annotation, type) and issubclass(annotation, Message):
        return _protobuf_decoder(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        # By name too: that is how it is encoded if a model does not read the aliases that it writes.
        return _validating(partial(annotation.model_validate_json, by_alias=True, by_name=True), annotation.__name__)
    if annotation is dict:
        return _decode_dict
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    except PydanticUserError as error:
        raise ConfigurationError(
            f"a payload cannot be converted to {annotation!r}: annotate with {_TAKEN} ({error.message.splitlines()[0]})"
        ) from error
    return _validating(adapter.validate_json, str(getattr(annotation, "__name__", annotation)))


_TAKEN = "bytes, dict, a pydantic model, a protobuf message or a type that pydantic validates"


def _decode_bytes(data: bytes, _content_type: str) -> bytes:
    return data


def _decode_dict(data: bytes, content_type: str) -> dict[str, Any]:
    value = _from_json(data, content_type, "dict")
    if not isinstance(value, dict):
        raise UndecodableTask(f"the payload does not match dict: it is a {type(value).__name__}")
    return value


def _decode_as_sent(data: bytes, content_type: str) -> Any:
    if content_type == JSON:
        return _from_json(data, content_type, "JSON")
    if content_type.startswith(PROTOBUF):
        name = _protobuf_type(content_type)
        try:
            message_class = message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))
        except KeyError:
            raise UndecodableTask(
                f"the payload is a {name}, whose protobuf module this worker has not imported"
            ) from None
        return _parse_protobuf(message_class, data)
    return data


def _from_json(data: bytes, content_type: str, wanted: str) -> Any:
    _refuse_protobuf(content_type, wanted)
    try:
        return from_json(data)
    except ValueError as error:
        raise UndecodableTask(f"the payload is not valid JSON: {error}") from error


def _validating(validate: Callable[[bytes], Any], wanted: str) -> Decoder:
    def decode(data: bytes, content_type: str) -> Any:
        _refuse_protobuf(content_type, wanted)
        try:
            return validate(data)
        except ValidationError as error:
            raise UndecodableTask(f"the payload does not match {wanted}: {error}") from error

    return decode


def _refuse_protobuf(content_type: str, wanted: str) -> None:
    # An empty or binary content type may still hold JSON: producers of the original schema say nothing about it.
    if content_type.startswith(PROTOBUF):
        raise UndecodableTask(f"the payload does not match {wanted}: it is a {_protobuf_type(content_type)}")


def _protobuf_decoder(message_class: type[Message]) -> Decoder:
    wanted = message_class.DESCRIPTOR.full_name

    def decode(data: bytes, content_type: str) -> Message:
        if content_type == JSON:
            try:
                return json_format.Parse(data, message_class())
            except (json_format.ParseError, UnicodeDecodeError) as error:
                raise UndecodableTask(f"the payload does not match {wanted}: {error}") from error
        if content_type.startswith(PROTOBUF) and _protobuf_type(content_type) not in ("", wanted):
            raise UndecodableTask(f"the payload does not match {wanted}: it is a {_protobuf_type(content_type)}")
        return _parse_protobuf(message_class, data)

    return decode


def _parse_protobuf(message_class: type[Message], data: bytes) -> Message:
    try:
        return message_class.FromString(data)
    except DecodeError as error:
        raise UndecodableTask(f"the payload cannot be read as {message_class.DESCRIPTOR.full_name}: {error}") from error


def _protobuf_type(content_type: str) -> str:
    return content_type.partition("type=")[2].strip().strip('"')
