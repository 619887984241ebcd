"""What the restricted Pod Security Standard, and we, ask of a pod."""

from chart.rendering import Object


def violations(spec: Object) -> list[str]:
    """What the restricted Pod Security Standard forbids, and a root file system that can be written to."""
    pod = spec["securityContext"]
    found = [] if pod["runAsNonRoot"] and pod["seccompProfile"]["type"] == "RuntimeDefault" else ["pod"]
    if pod.get("runAsUser", 1) == 0 or any(spec.get(each) for each in ("hostNetwork", "hostPID", "hostIPC")):
        found.append("host or root")
    allowed = {"configMap", "emptyDir", "projected", "secret", "downwardAPI", "persistentVolumeClaim"}
    found += [volume["name"] for volume in spec.get("volumes", []) if set(volume) - {"name"} - allowed]
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        context = container["securityContext"]
        tight = not context["allowPrivilegeEscalation"] and context["capabilities"] == {"drop": ["ALL"]}
        if not (tight and context["readOnlyRootFilesystem"]) or context.get("privileged"):
            found.append(container["name"])
    return found
