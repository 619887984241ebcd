"""Resource requests: from a verb on a route to what the registry does, and back to an answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import pods, tables
from .cluster import Cluster
from .decoding import check_identity
from .deletion import parse_delete_options
from .kinds import Kind
from .listing import Page, check_known, parse_version, selector_of
from .namespaces import check_deletable
from .negotiation import Accepted, parse_body
from .options import WriteOptions, parse_write_options
from .patches.merge import apply_merge
from .patches.operations import apply_operations
from .patches.strategic import apply_strategic
from .registry import Written
from .reviews import review
from .routes import Route
from .scale import current_scale, read_scale, write_scale
from .statuses import bad_request, method_not_allowed, unsupported_media_type
from .storage import Item, encoded
from .watching import versioned_json

Object = dict[str, Any]
APPLY = "application/apply-patch+yaml"
PATCHES = ("application/json-patch+json", "application/merge-patch+json", APPLY)
STRATEGIC = "application/strategic-merge-patch+json"


@dataclass(frozen=True)
class Call:
    """A resource request, parsed."""

    kind: Kind
    route: Route
    query: Mapping[str, str]
    accepted: Accepted
    content_type: str
    user_agent: str
    body: bytes = b""

    @property
    def media(self) -> str:
        return self.content_type.partition(";")[0].strip()

    def options(self, verb: str) -> WriteOptions:
        """Raises ApiError 422."""
        return parse_write_options(verb, self.query, self.user_agent, self.media == APPLY)

    def parsed(self) -> Any:
        return parse_body(self.body, self.content_type, self.kind.kind)


@dataclass(frozen=True)
class Answer:
    """JSON ready to send."""

    body: bytes
    status: int = 200
    warnings: tuple[str, ...] = field(default=())


class Resources:
    """The verbs that answer at once; watches and logs are streams and live in the server."""

    def __init__(self, cluster: Cluster, token: str) -> None:
        self._cluster = cluster
        self._registry = cluster.registry
        self._token = token

    def answer(self, verb: str, call: Call) -> Answer:
        """Raises ApiError."""
        if verb in {"get", "update", "patch"} and not call.route.name:
            raise bad_request("name must be provided") if call.kind.custom else method_not_allowed()
        handler = {
            "get": self._get,
            "list": self._list,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }.get(verb)
        if handler is None or (not call.route.subresource and verb not in call.kind.verbs):
            raise method_not_allowed()
        return handler(call)

    def _get(self, call: Call) -> Answer:
        check_known(self._cluster.store, parse_version(call.query.get("resourceVersion", "")))
        item = self._registry.get(call.kind, call.route.namespace, call.route.name)
        if call.route.subresource == "scale":
            return Answer(encoded(read_scale(call.kind, item.object)))
        if call.route.subresource not in {"", "status"}:
            raise method_not_allowed()
        return Answer(self._shown(call, item))

    def _shown(self, call: Call, item: Item) -> bytes:
        if call.accepted.form == "Table":
            metadata = {"resourceVersion": item.object["metadata"]["resourceVersion"]}
            return encoded(tables.table(call.kind, [item], metadata, call.query.get("includeObject", "")))
        if call.accepted.form == "PartialObjectMetadata":
            return encoded(tables.partial(item.object))
        return versioned_json(call.kind, item)

    def _list(self, call: Call) -> Answer:
        page = self._cluster.lister.page(call.kind, call.route.namespace, call.query)
        metadata: Object = {"resourceVersion": str(page.version)}
        if page.token:
            metadata["continue"] = page.token
            if page.remaining is not None:
                metadata["remainingItemCount"] = page.remaining
        if call.accepted.form == "Table":
            return Answer(encoded(tables.table(call.kind, page.items, metadata, call.query.get("includeObject", ""))))
        return Answer(self._list_body(call, page, metadata))

    def _list_body(self, call: Call, page: Page, metadata: Object) -> bytes:
        kind = call.kind
        if call.accepted.form.startswith("PartialObjectMetadata"):
            head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
            items = [encoded(tables.partial(item.object)) for item in page.items]
        else:
            if kind.custom:
                metadata.setdefault("continue", "")
            head = {"kind": kind.list_kind, "apiVersion": kind.group_version, "metadata": metadata}
            items = [versioned_json(kind, item) for item in page.items]
        return encoded(head)[:-1] + b',"items":[' + b",".join(items) + b"]}"

    def _create(self, call: Call) -> Answer:
        kind, route = call.kind, call.route
        # What an access review asks does not matter, all is allowed: so not even kubectl's protobuf need be read.
        unread = kind.ephemeral and kind.kind != "TokenReview" and "protobuf" in call.content_type
        body = {} if unread else call.parsed()
        if route.subresource:
            return self._create_part(call, body)
        if route.name:
            raise method_not_allowed()
        check_identity(kind, body)
        if kind.namespaced and not route.namespace and not kind.ephemeral:
            empty = bad_request("an empty namespace may not be set during creation")
            raise empty if kind.custom else method_not_allowed()
        if kind.ephemeral:
            return Answer(encoded(self._review(call, body)), 201)
        return _written(self._registry.create(kind, route.namespace, body, call.options("create")))

    def _review(self, call: Call, body: Object) -> Object:
        obj = {**body, "kind": call.kind.kind, "apiVersion": call.kind.group_version}
        return review(call.kind.kind, {**obj, "metadata": obj.get("metadata") or {}}, self._token)

    def _create_part(self, call: Call, body: Object) -> Answer:
        kind, route = call.kind, call.route
        if kind.storage_key == ("", "pods") and route.subresource == "binding":
            return Answer(encoded(pods.bind(self._registry, kind, route.namespace, route.name, body)), 201)
        if kind.storage_key == ("", "pods") and route.subresource == "eviction":
            deletion = self._cluster.deletion
            return Answer(encoded(pods.evict(deletion, kind, route.namespace, route.name, body)), 201)
        raise method_not_allowed()

    def _update(self, call: Call) -> Answer:
        kind, route, body = call.kind, call.route, call.parsed()
        if route.subresource == "scale":
            scaled = write_scale(self._registry, kind, route.namespace, route.name, body, call.options("update"))
            return _written(scaled)
        check_identity(kind, body)
        if route.subresource == "finalize":
            return self._finalize(call, body)
        if route.subresource not in {"", "status"}:
            raise method_not_allowed()
        options = call.options("update")
        return _written(self._registry.replace(kind, route.namespace, route.name, body, route.subresource, options))

    def _finalize(self, call: Call, body: Object) -> Answer:
        """Only a namespace's spec.finalizers may change this way."""
        finalizers = (body.get("spec") or {}).get("finalizers", [])

        def change(old: Object) -> Object:
            return {**old, "spec": {**old.get("spec", {}), "finalizers": finalizers}}

        route = call.route
        return _written(self._registry.update(call.kind, "", route.name, change, "finalize", call.options("update")))

    def _patch(self, call: Call) -> Answer:
        kind, route = call.kind, call.route
        media = call.media
        accepted = PATCHES if kind.custom else (*PATCHES, STRATEGIC)
        if media not in accepted:
            raise unsupported_media_type(accepted)
        if route.subresource not in {"", "status", "scale"}:
            raise method_not_allowed()
        options = call.options("patch")
        if media == APPLY:
            return self._apply(call, options)
        patch = call.parsed()

        def change(old: Object) -> Object:
            if media == PATCHES[0]:
                return apply_operations(old, patch)
            if not isinstance(patch, dict):
                raise bad_request("error decoding patch: a merge patch must be an object")
            return apply_strategic(old, patch, kind.schema) if media == STRATEGIC else apply_merge(old, patch)

        if route.subresource == "scale":
            current = self._registry.get(kind, route.namespace, route.name).object
            scale = change(current_scale(kind, current))
            return _written(write_scale(self._registry, kind, route.namespace, route.name, scale, options))
        return _written(self._registry.update(kind, route.namespace, route.name, change, route.subresource, options))

    def _apply(self, call: Call, options: WriteOptions) -> Answer:
        kind, route, body = call.kind, call.route, parse_body(call.body, call.content_type, call.kind.kind)
        named = (body.get("metadata") or {}).get("name", route.name)
        if named != route.name:
            raise bad_request(f"the name of the object ({named}) does not match the name on the URL ({route.name})")
        written = self._registry.apply(kind, route.namespace, route.name, body, route.subresource, options)
        return _written(written)

    def _delete(self, call: Call) -> Answer:
        kind, route = call.kind, call.route
        if route.subresource:
            raise method_not_allowed()
        check_deletable(kind, route.name)
        options = parse_delete_options(call.parsed() if call.body else None, call.query)
        deleted = self._cluster.deletion.delete(kind, route.namespace, route.name, options)
        if not deleted.gone or kind.returns_deleted:
            return Answer(encoded(self._registry.as_version(kind, deleted.object)))
        details: Object = {"name": route.name}
        if kind.group:
            details["group"] = kind.group
        details |= {"kind": kind.plural, "uid": deleted.object["metadata"]["uid"]}
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return Answer(encoded(status))

    def _delete_collection(self, call: Call) -> Answer:
        kind, route = call.kind, call.route
        selector = selector_of(kind, call.query)
        options = parse_delete_options(call.parsed() if call.body else None, call.query)
        items = self._cluster.store.collection(kind.storage_key).items(route.namespace)
        chosen = [item for item in items if selector.matches(item.object)]
        for item in chosen:
            metadata = item.object["metadata"]
            self._cluster.deletion.delete(kind, metadata.get("namespace", ""), metadata["name"], options)
        metadata = {"resourceVersion": str(self._cluster.store.version)}
        return Answer(self._list_body(call, Page(chosen, self._cluster.store.version), metadata))


def _written(written: Written) -> Answer:
    return Answer(encoded(written.object), 201 if written.created else 200, written.warnings)
