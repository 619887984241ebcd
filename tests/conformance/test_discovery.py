"""Telling clients what there is: discovery, version, OpenAPI."""

from conformance.kubeapi import Api

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
VERBS = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]


async def test_a_custom_group_is_among_the_groups(api: Api, group: str) -> None:
    reply = await api.get("/apis")
    assert reply.body["kind"] == "APIGroupList"
    entry = {"groupVersion": f"{group}/v1", "version": "v1"}
    assert {"name": group, "versions": [entry], "preferredVersion": entry} in reply.body["groups"]
    assert (await api.get(f"/apis/{group}")).body["name"] == group


async def test_a_custom_group_lists_its_resources(api: Api, group: str) -> None:
    reply = await api.get(f"/apis/{group}/v1")
    resources = {each["name"]: each for each in reply.body["resources"]}
    widget = resources["widgets"]
    assert (widget["kind"], widget["singularName"], widget["shortNames"]) == ("Widget", "widget", ["xwidgets"])
    assert widget["verbs"] == VERBS
    assert resources["widgets/status"]["verbs"] == ["get", "patch", "update"]
    assert (resources["widgets/scale"]["group"], resources["widgets/scale"]["kind"]) == ("autoscaling", "Scale")


async def test_the_aggregated_document_holds_all_groups_at_once(api: Api, group: str) -> None:
    reply = await api.get("/apis", Accept=AGGREGATED)
    assert reply.content_type == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    (found,) = [each for each in reply.body["items"] if each["metadata"]["name"] == group]
    (resource,) = found["versions"][0]["resources"]
    assert resource["responseKind"] == {"group": group, "version": "v1", "kind": "Widget"}
    assert resource["scope"] == "Namespaced"
    assert [each["subresource"] for each in resource["subresources"]] == ["status", "scale"]


async def test_the_core_group_has_its_own_document(api: Api) -> None:
    reply = await api.get("/api", Accept=AGGREGATED)
    (item,) = reply.body["items"]
    resources = {each["resource"]: each for each in item["versions"][0]["resources"]}
    assert {"pods", "namespaces", "secrets", "configmaps", "events", "services", "nodes"} <= set(resources)
    assert resources["namespaces"]["scope"] == "Cluster"
    assert resources["pods"]["shortNames"] == ["po"]
    assert {"binding", "eviction", "log", "status"} <= {
        each["subresource"] for each in resources["pods"]["subresources"]
    }


async def test_the_plain_core_document_names_the_version(api: Api) -> None:
    assert (await api.get("/api")).body["versions"] == ["v1"]
    assert "pods/log" in {each["name"] for each in (await api.get("/api/v1")).body["resources"]}


async def test_the_version_is_one_kubectl_understands(api: Api) -> None:
    version = (await api.get("/version")).body
    assert version["major"] == "1"
    assert version["gitVersion"].startswith(f"v1.{version['minor'].rstrip('+')}.")


async def test_the_openapi_index_leads_to_each_group(api: Api, group: str) -> None:
    paths = (await api.get("/openapi/v3")).body["paths"]
    assert {"api/v1", "apis/apps/v1", f"apis/{group}/v1"} <= set(paths)
    location = paths[f"apis/{group}/v1"]["serverRelativeURL"]
    assert location.startswith(f"/openapi/v3/apis/{group}/v1?hash=")
    assert (await api.get(location)).body["openapi"] == "3.0.0"


async def test_openapi_describes_custom_resources(api: Api, group: str) -> None:
    document = (await api.get(f"/openapi/v3/apis/{group}/v1")).body
    kind = [{"group": group, "kind": "Widget", "version": "v1"}]
    (schema,) = [
        each for each in document["components"]["schemas"].values()
        if each.get("x-kubernetes-group-version-kind") == kind
    ]  # fmt: skip
    assert schema["properties"]["spec"]["properties"]["size"]["description"] == "how big"
    item = document["paths"][f"/apis/{group}/v1/namespaces/{{namespace}}/widgets/{{name}}"]
    assert "fieldValidation" in {each["name"] for each in item["patch"]["parameters"]}


async def test_openapi_says_how_lists_of_built_in_kinds_merge(api: Api) -> None:
    document = (await api.get("/openapi/v3/apis/apps/v1")).body
    containers = [
        schema["properties"]["containers"]
        for schema in document["components"]["schemas"].values()
        if "containers" in schema.get("properties", {})
    ]
    assert containers
    assert containers[0]["x-kubernetes-patch-merge-key"] == "name"
    assert containers[0]["x-kubernetes-list-map-keys"] == ["name"]


async def test_the_server_says_it_is_well(api: Api) -> None:
    for path in ("/healthz", "/livez", "/readyz"):
        reply = await api.get(path)
        assert (reply.status, reply.body) == (200, "ok")
