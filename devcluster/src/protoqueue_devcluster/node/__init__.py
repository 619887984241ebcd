"""A Kubernetes node whose pods are processes of this machine.

An ordinary API client: it works the same against the embedded API server and a real one. What a container image would
bring is the machine itself: this interpreter's environment comes first on PATH, images are not looked at.

Containers are neither isolated nor in a mount or network namespace, so two things differ from a kubelet's:

- All pods share the loopback interface: a port can be used once, every pod's address is 127.0.0.1.
- Volumes are directories below the pod's own (`PROTOQUEUE_POD_ROOT`). Wherever a container's command, args, workingDir
  or environment values name a mountPath, the directory's real path is put in its place.
"""
