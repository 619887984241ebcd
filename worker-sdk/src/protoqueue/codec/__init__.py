"""Bytes to tasks and payloads, and back."""

from protoqueue.codec.payload import Decoder, decoder_for, encode_payload
from protoqueue.codec.wire import attempt_of, count_of, decode_task, encode_task, with_id

__all__ = [
    "Decoder",
    "attempt_of",
    "count_of",
    "decode_task",
    "decoder_for",
    "encode_payload",
    "encode_task",
    "with_id",
]
