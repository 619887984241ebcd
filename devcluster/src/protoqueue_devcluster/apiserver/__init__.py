"""An in-memory Kubernetes API: what kubectl, the official client and kopf need, with a real server's answers.

A request travels `server → verbs → registry → storage`. `kinds` declares what exists, `crds` adds to it at run time;
`schema` (with `builtin` and `rules`) knows what objects look like; `patches` and `managed_fields` change them.
"""
