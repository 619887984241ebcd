"""A small asynchronous Kubernetes client: plain dictionaries in and out, informers, work queues.

The official client builds typed models for every object it reads; the controllers and the node want the JSON as it is,
and half of their start-up time was spent importing those models.
"""
