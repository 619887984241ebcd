import base64

import pytest

from protoqueue_devcluster.apiserver.protobuf import parse_protobuf
from protoqueue_devcluster.apiserver.statuses import ApiError


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def entry(name: str, value: bytes | str) -> bytes:
    return field(1, name) + field(2, value)


def request(kind: str, body: bytes, version: str = "v1") -> bytes:
    return b"k8s\0" + field(1, field(1, version) + field(2, kind)) + field(2, body)


def test_a_secret_is_what_helm_means_by_it() -> None:
    meta = field(1, "sh.helm.release.v1.pq.v1") + field(3, "queues")
    meta += field(8, b"") + field(11, entry("owner", "helm")) + field(11, entry("status", "deployed"))
    body = field(1, meta) + field(2, entry("release", b"\0\xff")) + field(3, "helm.sh/release.v1")
    assert parse_protobuf(request("Secret", body)) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "sh.helm.release.v1.pq.v1",
            "namespace": "queues",
            "creationTimestamp": None,
            "labels": {"owner": "helm", "status": "deployed"},
        },
        "data": {"release": base64.b64encode(b"\0\xff").decode()},
        "type": "helm.sh/release.v1",
    }


def test_a_config_map_keeps_its_text_and_lists_keep_their_order() -> None:
    meta = field(1, "codeindex") + field(14, "a.example/first") + field(14, "a.example/second")
    parsed = parse_protobuf(request("ConfigMap", field(1, meta) + field(2, entry("a", "ü"))))
    assert parsed["data"] == {"a": "ü"}
    assert parsed["metadata"]["finalizers"] == ["a.example/first", "a.example/second"]


def test_times_are_told_as_rfc_3339() -> None:
    meta = field(1, "orders") + field(8, field(1, 1_700_000_000))
    assert (
        parse_protobuf(request("Namespace", field(1, meta)))["metadata"]["creationTimestamp"] == "2023-11-14T22:13:20Z"
    )


def test_options_of_a_deletion_are_read() -> None:
    body = field(1, 300) + field(2, field(1, "the-uid")) + field(4, "Background")
    assert parse_protobuf(request("DeleteOptions", body, "meta/v1")) == {
        "apiVersion": "meta/v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 300,
        "preconditions": {"uid": "the-uid"},
        "propagationPolicy": "Background",
    }


def test_fields_of_later_versions_are_passed_over() -> None:
    parsed = parse_protobuf(request("ServiceAccount", field(1, field(1, "a") + field(90, "new")) + field(77, 3)))
    assert parsed["metadata"] == {"name": "a"}


def test_a_workload_is_read_whole_or_not_at_all() -> None:
    container = field(1, "main") + field(2, "image") + field(5, "")
    known = field(2, field(3, field(2, field(2, container + field(8, b"")))))
    unset = field(3, field(1, 0) + field(5, b""))  # a status as Go writes it
    assert parse_protobuf(request("Deployment", known + unset, "apps/v1"))["spec"] == {
        "template": {"spec": {"containers": [{"name": "main", "image": "image"}]}}
    }
    mounted = field(2, field(3, field(2, field(2, container + field(9, field(1, "volume"))))))
    with pytest.raises(ApiError) as refused:
        parse_protobuf(request("Deployment", mounted, "apps/v1"))
    assert refused.value.code == 415


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (request("Lease", b""), 415),
        (b"{}", 400),
        (request("Secret", field(1, field(1, "cut off")))[:-3], 400),
        (b"k8s\0" + field(1, 7), 400),
        (b"k8s\0" + varint(1 << 3 | 5) + b"\0\0\0\0", 400),
        (b"k8s\0\xff", 400),
    ],
)
def test_what_cannot_be_read_is_refused(raw: bytes, code: int) -> None:
    with pytest.raises(ApiError) as refused:
        parse_protobuf(raw)
    assert refused.value.code == code
