from pathlib import Path
from typing import Any

from protoqueue_devcluster.apiserver.cluster import Cluster
from protoqueue_devcluster.apiserver.journal import Journal
from protoqueue_devcluster.apiserver.options import WriteOptions
from protoqueue_operator.api.v1alpha1.crd import crds
from waiting import eventually

MINE = WriteOptions(manager="me")


def started(file: Path) -> tuple[Cluster, Journal]:
    cluster, journal = Cluster(), Journal(file)
    cluster.start(journal)
    return cluster, journal


def create(cluster: Cluster, group: str, plural: str, body: dict[str, Any], namespace: str = "") -> dict[str, Any]:
    kind = cluster.kinds.find(group, "v1alpha1" if group == "protoqueue.dev" else "v1", plural)
    assert kind is not None
    return cluster.registry.create(kind, namespace, body, MINE).object


def everything(cluster: Cluster) -> dict[tuple[str, ...], dict[str, Any]]:
    """All objects that are kept, without the versions that a restart makes anew."""
    found = {}
    for key in (
        ("", "namespaces"),
        ("", "serviceaccounts"),
        ("", "secrets"),
        ("", "services"),
        ("protoqueue.dev", "queues"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
    ):
        for item in cluster.store.collection(key).items():
            metadata = {name: value for name, value in item.object["metadata"].items() if name != "resourceVersion"}
            found[*key, metadata.get("namespace", ""), metadata["name"]] = {**item.object, "metadata": metadata}
    return found


async def test_objects_are_there_again_with_their_identity_after_a_restart(tmp_path: Path) -> None:
    cluster, journal = started(tmp_path / "objects.db")
    for definition in crds().values():
        create(cluster, "apiextensions.k8s.io", "customresourcedefinitions", definition)
    create(cluster, "", "namespaces", {"metadata": {"name": "shop"}})
    create(cluster, "protoqueue.dev", "queues", {"metadata": {"name": "email"}, "spec": {"paused": True}}, "shop")
    create(cluster, "", "secrets", {"metadata": {"name": "key"}, "data": {"a": "Yg=="}}, "default")
    create(cluster, "", "secrets", {"metadata": {"name": "gone"}}, "default")
    gone = cluster.store.collection(("", "secrets")).get("default", "gone")
    assert gone
    cluster.store.remove(("", "secrets"), "default", "gone", gone.object)
    journal.close()
    before = everything(cluster)
    again, journal = started(tmp_path / "objects.db")
    assert everything(again) == before
    assert ("", "secrets", "default", "gone") not in before
    # Definitions serve again: what they refuse is refused, what they take is taken.
    create(again, "protoqueue.dev", "queues", {"metadata": {"name": "more"}, "spec": {}}, "shop")
    journal.close()


async def test_what_ends_with_the_cluster_is_not_kept(tmp_path: Path) -> None:
    cluster, journal = started(tmp_path / "objects.db")
    cluster.store.put(("", "pods"), "default", "p", {"metadata": {"name": "p", "namespace": "default", "uid": "1"}})
    journal.close()
    again, journal = started(tmp_path / "objects.db")
    assert again.store.collection(("", "pods")).get("default", "p") is None
    journal.close()


async def test_a_write_is_on_the_disk_soon_without_an_orderly_end(tmp_path: Path) -> None:
    cluster, _ = started(tmp_path / "objects.db")
    create(cluster, "", "namespaces", {"metadata": {"name": "shop"}})

    def is_kept() -> bool:
        other = Cluster()
        return Journal(tmp_path / "objects.db").restore(other.store) and (
            other.store.collection(("", "namespaces")).get("", "shop") is not None
        )

    await eventually(is_kept)


async def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    _, journal = started(tmp_path / "objects.db")
    assert (tmp_path / "objects.db").stat().st_mode & 0o077 == 0
    journal.close()
