"""What the environment says, parsed once. Sizes are bytes, times seconds."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from protoqueue.protocol.durations import parse_duration

_Value = TypeVar("_Value")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LEVELS = ("debug", "info", "warning", "error")


class SettingsError(Exception):
    """A variable is missing or cannot be what it is: the text names it and says what is allowed."""


@dataclass(frozen=True)
class Settings:
    """How the gateway runs. `namespace` is where its Secrets are; None takes that of its pod or kubeconfig."""

    nats_url: str
    host: str = "0.0.0.0"  # noqa: S104  # in a pod it is to be reached; `--host` says otherwise
    port: int = 8080
    log_level: str = "info"
    default_namespace: str = "default"
    default_visibility_timeout: str = "30s"
    default_max_retries: int = 3
    max_batch_size: int = 100
    max_body_size: int = 8 * 1024 * 1024
    head_timeout_s: float = 20.0
    body_timeout_s: float = 30.0
    max_long_polls_per_key: int = 2000
    requests_per_second_per_key: int = 0
    """0: no limit."""
    cors_origins: tuple[str, ...] = ()
    namespace: str | None = None
    namespaces: tuple[str, ...] = ()
    """Whose queues the dashboard shows; empty for all."""
    receipt_secret: str = "protoqueue-gateway-receipts"  # noqa: S105  # its name
    insecure: bool = False
    ignores_redis: bool = False


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Raises SettingsError."""
    url = environment.get("PROTOQUEUE_NATS_URL") or environment.get("NATS_URL")
    if not url:
        raise SettingsError("NATS_URL is not set: write where NATS is, such as NATS_URL=nats://nats:4222")

    def read(name: str, default: _Value, parse: Callable[[str], _Value], allowed: str) -> _Value:
        text = environment.get(name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except ValueError:
            raise SettingsError(f"{name}={text!r} cannot be used: {allowed}") from None

    return Settings(
        nats_url=url,
        port=read("PORT", 8080, _number(0, 65535), "a port from 0 to 65535, 0 for a free one"),
        log_level=read("LOG_LEVEL", "info", _log_level, f"one of {', '.join(_LEVELS)}"),
        default_namespace=read("DEFAULT_NAMESPACE", "default", _label, "the name of a namespace"),
        default_visibility_timeout=read("DEFAULT_VISIBILITY_TIMEOUT", "30s", _duration, "a duration such as 30s or 5m"),
        default_max_retries=read("DEFAULT_MAX_RETRIES", 3, _number(0, 999), "a number from 0 to 999"),
        max_batch_size=read("MAX_BATCH_SIZE", 100, _number(1, 1000), "a number from 1 to 1000"),
        max_body_size=read("MAX_BODY_SIZE", 8 * 1024 * 1024, _number(1024, 2**30), "bytes, from 1024 on"),
        head_timeout_s=read("HEAD_TIMEOUT", 20.0, _seconds, "a duration such as 20s"),
        body_timeout_s=read("BODY_TIMEOUT", 30.0, _seconds, "a duration such as 30s or 5m"),
        max_long_polls_per_key=read("MAX_LONG_POLLS_PER_KEY", 2000, _number(1, 10**6), "a number from 1 on"),
        requests_per_second_per_key=read(
            "REQUESTS_PER_SECOND_PER_KEY", 0, _number(0, 10**6), "a number, 0 for no limit"
        ),
        cors_origins=read("CORS_ORIGINS", (), _origins, "origins such as https://app.example.org, separated by commas"),
        namespace=read("POD_NAMESPACE", None, _label, "the name of a namespace"),
        namespaces=read("NAMESPACES", (), _namespaces, "names of namespaces, separated by commas"),
        receipt_secret=read(
            "RECEIPT_SECRET", "protoqueue-gateway-receipts", _label, "the name of a Secret"
        ),
        ignores_redis=bool(environment.get("REDIS_URL")),
    )  # fmt: skip


def _number(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not least <= (number := int(text)) <= most:
            raise ValueError
        return number

    return parse


def _log_level(text: str) -> str:
    if text.lower() not in _LEVELS:
        raise ValueError
    return text.lower()


def _label(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise ValueError
    return text


def _namespaces(text: str) -> tuple[str, ...]:
    return tuple(_label(name.strip()) for name in text.split(",") if name.strip())


def _duration(text: str) -> str:
    seconds = f"{text}s" if text.isdigit() else text
    if parse_duration(seconds).total_seconds() < 0.1:  # what the Queue's field takes, too
        raise ValueError
    return seconds


def _seconds(text: str) -> float:
    return parse_duration(_duration(text)).total_seconds()


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(origin.strip().rstrip("/") for origin in text.split(",") if origin.strip())
    if not all(origin == "*" or re.fullmatch(r"https?://[^/\s]+", origin) for origin in origins):
        raise ValueError
    return origins
