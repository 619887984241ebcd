"""What is wrong with ConfigMaps and Secrets: their keys, what they must hold, and what may not change any more."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any

from .statuses import Cause, bad_request, forbidden_field, invalid_value, required

Object = dict[str, Any]
KEY = re.compile(r"[-._a-zA-Z0-9]+\Z")
KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  "
    "or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
IMMUTABLE_DATA = ("data", "binaryData", "immutable")
NEEDED_KEYS: Mapping[str, tuple[str, ...]] = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
}
BASIC_AUTH = ("username", "password")


def check_config_map(obj: Object, old: Object | None) -> list[Cause]:
    """Raises ApiError 400 for what is not base64."""
    _check_base64("ConfigMap", obj.get("binaryData"))
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    twice = [
        invalid_value(f"data[{key}]", key, "duplicate of key present in binaryData") for key in data if key in binary
    ]
    return [*_key_causes("data", data), *_key_causes("binaryData", binary), *twice, *_immutable_causes(obj, old)]


def check_secret(obj: Object, old: Object | None) -> list[Cause]:
    """Raises ApiError 400 for what is not base64."""
    data, kind = obj.get("data") or {}, obj.get("type", "")
    _check_base64("Secret", data)
    causes = [*_key_causes("data", data)]
    causes += [required(f"data[{key}]") for key in NEEDED_KEYS.get(kind, ()) if key not in data]
    if kind == "kubernetes.io/basic-auth" and not any(key in data for key in BASIC_AUTH):
        causes += [required(f"data[{key}]") for key in BASIC_AUTH]
    causes += _immutable_causes(obj, old)
    if old is not None and kind != old.get("type"):
        causes.append(invalid_value("type", kind, "field is immutable"))
    return causes


def _check_base64(kind: str, data: Any) -> None:
    for text in (data or {}).values():
        try:
            base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            refused = f'{kind} in version "v1" cannot be handled as a {kind}: illegal base64 data'
            raise bad_request(refused) from None


def _key_causes(field: str, data: Any) -> Iterator[Cause]:
    for key in data or {}:
        if not KEY.match(key):
            yield invalid_value(f"{field}[{key}]", key, KEY_TEXT)


def _immutable_causes(obj: Object, old: Object | None) -> list[Cause]:
    if old is None or not old.get("immutable"):
        return []
    changed = [name for name in IMMUTABLE_DATA if obj.get(name) != old.get(name)]
    return [forbidden_field(name, "field is immutable when `immutable` is set") for name in changed]
