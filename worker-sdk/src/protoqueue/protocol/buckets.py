"""The key-value buckets of a NATS account. The keys are those of `QueueName` and `GroupName`."""

CONFIG_BUCKET = "pq-config"
"""Settings of queues and groups, written by the operator."""

RATE_BUCKET = "pq-rate"
"""Leased tokens of rate limits."""

DONE_BUCKET = "pq-done"
"""What a group's workers remember of its tasks: finished ids, attempts, leases, throttles."""

SAMPLES_BUCKET = "pq-samples"
"""Measurements of queues, for charts."""
