"""What the resources promise and this version refuses, from the operator's own table."""

from protoqueue_operator.core.validation import NOT_SUPPORTED_YET


def not_supported_yet() -> str:
    """A section in Markdown; nothing where everything is supported."""
    queue, group = ([field for field, _ in features] for features in NOT_SUPPORTED_YET)
    fields = [f"- Queue, `{field}`" for field in queue] + [f"- ConsumerGroup, `{field}`" for field in group]
    if not fields:
        return ""
    intro = (
        "These fields are part of the resources. A resource that uses one is refused with the reason "
        "[`NotSupportedYet`](operations/troubleshooting.md#notsupportedyet) rather than half obeyed:"
    )
    return "\n".join(["## What this version does not do yet", "", intro, "", *fields])
