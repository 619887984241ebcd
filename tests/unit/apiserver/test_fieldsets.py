"""Sets of owned fields."""

from protoqueue_devcluster.apiserver.fieldsets import compare, decode, encode, remove_path, with_parents
from protoqueue_devcluster.apiserver.managed_fields import dotted
from protoqueue_devcluster.apiserver.schema import MISSING, Node

NAMED = Node(type="object", fields={"name": Node(type="string")})
KEYED = Node(type="array", items=NAMED, list_type="map", list_keys=("name",))
NODE = Node(type="object", fields={"items": KEYED, "atom": Node(type="object", atomic=True)})


def test_a_tree_and_its_paths_are_the_same_thing() -> None:
    tree = {"f:a": {".": {}, "f:b": {}}, "f:c": {'k:{"name":"x"}': {".": {}, "f:name": {}}}, "f:d": {'v:"q"': {}}}
    assert encode(decode(tree)) == tree


def test_a_changed_atomic_map_changes_as_a_whole() -> None:
    assert compare({"atom": {"a": 1}}, {"atom": {"a": 2}}, NODE).modified == {("f:atom",)}


def test_an_item_that_appears_or_goes_takes_all_it_holds() -> None:
    item = {("f:items", 'k:{"name":"x"}'), ("f:items", 'k:{"name":"x"}', "f:name")}
    assert compare({"items": []}, {"items": [{"name": "x"}]}, NODE).added == item
    assert compare({"items": [{"name": "x"}]}, {"items": []}, NODE).removed == item


def test_what_is_equal_differs_nowhere() -> None:
    same = compare({"items": [{"name": "x"}]}, {"items": [{"name": "x"}]}, NODE)
    assert (same.added, same.modified, same.removed) == (set(), set(), set())


def test_named_fields_around_a_path_belong_to_it_but_list_items_do_not() -> None:
    paths = frozenset({("f:a", 'k:{"name":"x"}', "f:b", "f:c")})
    assert with_parents(paths) - paths == {("f:a",), ("f:a", 'k:{"name":"x"}', "f:b")}


def test_removing_a_path_leaves_the_rest_alone() -> None:
    value = {"items": [{"name": "x"}, {"name": "y"}], "atom": {"a": 1}}
    assert remove_path(value, NODE, ("f:items", 'k:{"name":"x"}'))["items"] == [{"name": "y"}]
    assert remove_path(value, NODE, ("f:none",)) is value


def test_a_missing_value_is_no_null() -> None:
    assert compare(MISSING, {"atom": {}}, NODE).added == {(), ("f:atom",)}


def test_paths_read_as_in_conflict_messages() -> None:
    path = ("f:spec", "f:containers", 'k:{"name":"c"}', "f:image")
    assert dotted(path) == '.spec.containers[name="c"].image'
    assert dotted(("f:ports", 'k:{"containerPort":80,"protocol":"TCP"}')) == '.ports[containerPort=80,protocol="TCP"]'
