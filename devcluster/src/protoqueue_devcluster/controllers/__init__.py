"""Deployment → ReplicaSet → Pod, StatefulSet → Pod, and Pod → Node, as the real controllers do it.

Each controller is a pure `plan_…` over the objects as they are now, which says what to write, and the shared loop in
`loops` that reads through informers and writes. Equal states plan nothing.
"""
