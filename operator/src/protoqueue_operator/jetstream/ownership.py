"""Who owns a stream or consumer, and who may take it over: a Queue of the same namespace and name, whatever its uid."""

from protoqueue_operator.api.v1alpha1.errors import ForeignAsset
from protoqueue_operator.api.v1alpha1.labels import ADOPT_ANNOTATION
from protoqueue_operator.jetstream.assets import Owner, Stream


def refuse_foreign(owner: Owner | None, found: Owner | None, what: str) -> None:
    """Raises ForeignAsset unless `found` names the same object as `owner`, at whatever uid."""
    if owner and (found is None or found.key != owner.key):
        belongs = f"belongs to {found.key}" if found else "was not made by ProtoQueue"
        raise ForeignAsset(f"{what} exists and {belongs}: remove it, or use another name")


def refuse_earlier_namespace(uid: str, found: Stream, adopts: str = "") -> None:
    """Raises ForeignAsset if a Queue in another namespace of this name, except `adopts`, left the stream."""
    if uid and found.namespace_uid and found.namespace_uid not in (uid, adopts):
        raise ForeignAsset(
            f"stream {found.name} exists and belongs to an earlier namespace of this name, or to another cluster's: "
            f"if its tasks are yours, annotate the Queue with {ADOPT_ANNOTATION}=<uid of that namespace>, which the "
            "metadata of the stream tells who administers NATS (nats stream info); else "
            "remove the stream, or use another name"
        )


def is_owned(owner: Owner, namespace_uid: str, adopts: str, observed: Stream) -> bool:
    """Whether none of the above refuses it."""
    try:
        refuse_foreign(owner, observed.owner, observed.name)
        refuse_earlier_namespace(namespace_uid, observed, adopts)
    except ForeignAsset:
        return False
    return True


def is_lost(established: Stream, observed: Stream | None) -> bool:
    """Whether a stream that a Queue owned now belongs to another of the same name, such as another cluster's."""
    mine, found = established.owner, observed.owner if observed else None
    return mine is not None and found is not None and found.key == mine.key and found != mine
