"""From what a client sent to an object the registry can work on: identity, known fields, right types, defaults."""

import json
from dataclasses import dataclass
from typing import Any, cast

from . import defaults
from .builtin import model_node
from .kinds import METADATA, Kind
from .rules import quantity
from .schema import MISSING, Unknown, fill_defaults, prune
from .shapes import shape
from .statuses import ApiError, bad_request

Object = dict[str, Any]
OPTIONAL_METADATA = ("labels", "annotations", "finalizers", "ownerReferences", "generateName")
QUANTITIES = frozenset({"limits", "requests", "capacity", "allocatable", "hard", "used"})


@dataclass
class Decoded:
    """An object as accepted, and what the client should be warned about."""

    object: Object
    warnings: tuple[str, ...] = ()


def check_identity(kind: Kind, body: Any) -> None:
    """Refuse an object of another version or kind than its path names. Raises ApiError 400."""
    if not isinstance(body, dict):
        raise bad_request(f"the object provided is unrecognized (must be of type {kind.kind})")
    if kind.custom:
        _check_stated(kind, body)
    version = body.get("apiVersion", kind.group_version)
    if version != kind.group_version:
        expected = f"the expected API version ({kind.group_version})"
        raise bad_request(f"the API version in the data ({version}) does not match {expected}")
    named = body.get("kind", kind.kind)
    if named != kind.kind:
        expected = f'"{kind.group_version}, Kind={kind.kind}"'
        given = f"{version}, Kind={named}"
        raise bad_request(
            f"{named} in version {kind.version!r} cannot be handled as a {kind.kind}: {given} is not {expected}"
        )
    _check_metadata(kind, body)


def _check_stated(kind: Kind, body: Object) -> None:
    """What a custom resource is must be said, while a built-in one may leave it to its path."""
    if not body.get("kind"):
        text = json.dumps(body)
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind.kind}): "
            f"Object 'Kind' is missing in '{text}' ({text[:30]} ...)"
        )
    if not body.get("apiVersion"):
        expected = f"the expected API version ({kind.group_version})"
        raise bad_request(f"the API version in the data () does not match {expected}")


def _check_metadata(kind: Kind, body: Object) -> None:
    if not isinstance(body.get("metadata") or {}, dict):
        raise _unreadable(kind.kind, kind.version, "json: cannot unmarshal field metadata into type v1.ObjectMeta")


def check_shape(model: str, body: Any) -> Object:
    """`body` as an object of a model that is not stored, such as `V1Scale`. Raises ApiError 400 for wrong types."""
    name = model.removeprefix("V1")
    given = _without_nulls(body, "") if isinstance(body, dict) else body
    for cause in shape(given, MISSING, model_node(model), ""):
        if cause.reason == "FieldValueTypeInvalid":
            raise _unreadable(name, "v1", f"json: cannot unmarshal field {cause.field}: {cause.message}")
    checked: Object = given
    return checked


def decode(kind: Kind, body: Object, field_validation: str, known: Object | None = None) -> Decoded:
    """Accept `body` as an object of `kind`, without the schema's defaults.

    Unknown fields are dropped; `field_validation` Strict refuses them (ApiError 400), Warn lists them. Parts that are
    the very objects of `known`, an object accepted before, are not looked at again.
    """
    obj, unknown = _known(kind, body, known)
    if _has_quantities(kind) and (why := _unfit_quantity(obj, "")):
        raise _unreadable(kind.kind, kind.version, why)
    warnings = [f'unknown field "{path}"' for path in unknown.paths]
    if warnings and field_validation == "Strict":
        raise _unreadable(kind.kind, kind.version, "strict decoding error: " + ", ".join(warnings))
    return Decoded(obj, () if field_validation == "Ignore" else tuple(warnings))


def decode_configuration(kind: Kind, body: Object) -> Object:
    """Accept `body` as what a server-side apply names: of a kind that is said, with no field that is unknown.

    Raises ApiError 400, and 500, whatever the field validation, for unknown fields and for quantities that are none:
    so real servers do.
    """
    version, named = body.get("apiVersion", ""), body.get("kind", "")
    if (version, named) != (kind.group_version, kind.kind):
        raise bad_request(f"invalid object type: {version or '/'}, Kind={named}")
    obj, unknown = _known(kind, body, None)
    metadata = obj["metadata"]
    what = f"({metadata.get('namespace', '')}/{metadata.get('name', '')}; {version}, Kind={named})"
    if unknown.paths:
        found = [f".{path}: field not declared in schema" for path in unknown.paths]
        why = found[0] if len(found) == 1 else "errors:\n  " + "\n  ".join(found)
        raise ApiError(500, "", f"failed to create typed patch object {what}: {why}")
    if _has_quantities(kind) and (why := _unfit_quantity(obj, "")):
        raise ApiError(500, "", f"failed to convert new object {what} to proper version ({version}): {why}")
    return obj


def _known(kind: Kind, body: Object, known: Object | None) -> tuple[Object, Unknown]:
    """The part of `body` that its schema knows, of the right types, and the paths of the rest."""
    unknown = Unknown()
    obj = {**body, "apiVersion": kind.group_version, "kind": kind.kind}
    _check_metadata(kind, obj)
    obj["metadata"] = _metadata(prune(obj.get("metadata") or {}, METADATA, unknown, "metadata"))
    settled, obj = _settled(obj, known)
    if not kind.custom:
        # In a definition a field of that name is a schema.
        quantities = frozenset() if kind.group == "apiextensions.k8s.io" else QUANTITIES
        obj = {name: _without_nulls(value, name, quantities) for name, value in obj.items() if value is not None}
    obj = prune(obj, kind.schema, unknown)
    _check_types(kind, obj)
    return {**settled, **obj}, unknown


def _settled(obj: Object, known: Object | None) -> tuple[Object, Object]:
    """The parts of `obj` taken over from `known` as they are, and the others."""
    if known is None:
        return {}, obj
    same = {name for name, value in obj.items() if name in known and value is known[name]} - {"metadata"}
    settled = {name: obj[name] for name in same}
    return settled, {name: value for name, value in obj.items() if name not in settled}


def fill(kind: Kind, obj: Object, known: Object | None = None) -> Object:
    """`obj` with the defaults of its schema or built-in type; parts of `known` have theirs."""
    if kind.custom:
        settled, rest = _settled(obj, known)
        return {**fill_defaults(rest, kind.schema), **settled}
    default = defaults.BUILT_IN.get(kind.storage_key)
    return default(obj) if default is not None else obj


def as_read(kind: Kind, obj: Object) -> Object:
    """An object that was stored under another schema, as this one lets it be seen; the same where nothing differs."""
    return cast("Object", fill_defaults(prune(obj, kind.schema), kind.schema))


def _unreadable(kind: str, version: str, why: str) -> ApiError:
    return bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {why}')


def _metadata(metadata: Object) -> Object:
    empty = [name for name in OPTIONAL_METADATA if name in metadata and not metadata[name]]
    empty += [name for name, value in metadata.items() if value is None]
    return {name: value for name, value in metadata.items() if name not in empty} if empty else metadata


def _without_nulls(value: Any, name: str, quantities: frozenset[str] = QUANTITIES) -> Any:
    """Built-in types have no nulls (they decode to absence), and quantities may be written as numbers."""
    if isinstance(value, dict):
        if name in quantities:
            value = {key: _quantity(each) for key, each in value.items()}
        return {key: _without_nulls(each, key, quantities) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each, "", quantities) for each in value]
    return value


def _has_quantities(kind: Kind) -> bool:
    """A definition's schema may have fields called as those of quantities are."""
    return not kind.custom and kind.kind != "CustomResourceDefinition"


def _unfit_quantity(value: Any, name: str) -> str:
    """What is wrong with the first quantity of a built-in type that is none, or nothing."""
    if isinstance(value, dict):
        for key, each in value.items():
            if name in QUANTITIES and isinstance(each, str):
                try:
                    quantity(each)
                except ValueError as error:
                    return str(error)
            elif why := _unfit_quantity(each, key):
                return why
    if isinstance(value, list):
        return next(filter(None, (_unfit_quantity(each, "") for each in value)), "")
    return ""


def _quantity(value: Any) -> Any:
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _check_types(kind: Kind, obj: Object) -> None:
    nodes = [("metadata", METADATA)] if kind.custom else [("", kind.schema)]
    for name, node in nodes:
        for cause in shape(obj[name] if name else obj, MISSING, node, name):
            if cause.reason == "FieldValueTypeInvalid":
                raise _unreadable(
                    kind.kind, kind.version, f"json: cannot unmarshal field {cause.field}: {cause.message}"
                )
