"""Access and token reviews: who may reach this server may do everything, so all are allowed."""

from typing import Any

from .registry import timestamp

Object = dict[str, Any]
USER = {"username": "protoqueue-admin", "groups": ["system:masters", "system:authenticated"]}
EVERYTHING = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}


def review(kind: str, obj: Object, known_token: str) -> Object:
    """The review with its answer."""
    statuses: dict[str, Object] = {
        "SelfSubjectAccessReview": {"allowed": True},
        "SubjectAccessReview": {"allowed": True},
        "SelfSubjectRulesReview": {
            "resourceRules": [EVERYTHING],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": False,
        },
        "SelfSubjectReview": {"userInfo": USER},
    }
    if kind == "TokenReview":
        known = (obj.get("spec") or {}).get("token") == known_token
        return {**obj, "status": {"authenticated": True, "user": USER} if known else {"user": {}}}
    if kind == "SelfSubjectReview":
        obj = {**obj, "metadata": {**obj["metadata"], "creationTimestamp": timestamp()}}
    return {**obj, "status": statuses[kind]}
