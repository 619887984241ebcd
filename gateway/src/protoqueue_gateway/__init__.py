"""ProtoQueue's queues over HTTP."""
