"""Merging lists and maps, without a server."""

from typing import Any

import pytest

from protoqueue_devcluster.apiserver.patches.apply import merge
from protoqueue_devcluster.apiserver.patches.merge import apply_merge
from protoqueue_devcluster.apiserver.patches.strategic import apply_strategic
from protoqueue_devcluster.apiserver.schema import Node

NAMED = Node(type="object", fields={"name": Node(type="string"), "v": Node(type="integer")})
KEYED = Node(type="array", items=NAMED, list_type="map", list_keys=("name",), patch_key="name", patch_strategy="merge")
HOLDER = Node(type="object", fields={"items": KEYED, "plain": Node(type="array", items=Node(type="string"))})


def named(names: str) -> list[dict[str, str]]:
    return [{"name": name} for name in names]


@pytest.mark.parametrize(
    ("live", "applied", "merged"),
    [
        ("x", "y", "xy"),
        ("xy", "yx", "yx"),
        ("abc", "b", "abc"),
        ("bcd", "nmc", "bnmcd"),
        ("bc", "ac", "bac"),
        ("cd", "dc", "dc"),
        ("", "ab", "ab"),
    ],
)
def test_applied_items_keep_their_order_and_others_their_neighbours(live: str, applied: str, merged: str) -> None:
    result = merge({"items": named(live)}, {"items": named(applied)}, HOLDER)
    assert [each["name"] for each in result["items"]] == list(merged)


def test_applied_items_merge_with_those_of_the_same_key() -> None:
    result = merge({"items": [{"name": "a", "v": 1}]}, {"items": [{"name": "a"}]}, HOLDER)
    assert result == {"items": [{"name": "a", "v": 1}]}


def test_plain_lists_are_replaced() -> None:
    assert merge({"plain": ["a"]}, {"plain": ["b"]}, HOLDER) == {"plain": ["b"]}


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": 1}, {"a": None}, {}),
        ({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1}, {"a": {"b": None}}, {"a": {}}),
        ({}, {"a": {"b": {"c": None}}}, {"a": {"b": {}}}),
    ],
)
def test_merge_patches_follow_the_rfc(target: Any, patch: Any, result: Any) -> None:
    before = repr(target)
    assert apply_merge(target, patch) == result
    assert repr(target) == before


@pytest.mark.parametrize(
    ("patch", "names"),
    [
        ({"items": named("d")}, "abcd"),
        ({"items": [{"name": "b", "$patch": "delete"}]}, "ac"),
        ({"items": [{"$patch": "replace"}, {"name": "z"}]}, "z"),
        ({"$setElementOrder/items": named("cba")}, "cba"),
        ({"$setElementOrder/items": named("ca")}, "cab"),
        ({"items": named("d"), "$setElementOrder/items": named("dab")}, "dabc"),
    ],
)
def test_strategic_patches_merge_order_and_delete_by_key(patch: dict[str, Any], names: str) -> None:
    result = apply_strategic({"items": named("abc")}, patch, HOLDER)
    assert sorted(each["name"] for each in result["items"]) == sorted(names)
    if "$setElementOrder/items" in patch:
        wanted = [each["name"] for each in patch["$setElementOrder/items"]]
        assert [each["name"] for each in result["items"] if each["name"] in wanted] == wanted
