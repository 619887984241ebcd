"""Writes the structural schema of a pod template, from Kubernetes' own schemas.

`make crds` runs it. The schemas come with `kubernetes-validate`, a development dependency: what runs reads the file
written here. A structural schema has no references, and here nothing without a bound: depth by its shape, strings by
maxLength, lists by maxItems, maps by maxProperties.
"""

import json
import sys
from importlib.resources import files
from typing import Any

Schema = dict[str, Any]

KUBERNETES = "1.37"
"""The newest version that kubernetes-validate knows. A field that came later is refused, or pruned with a warning."""

DESCRIPTION = 80
"""Characters: the definition has to fit into the annotation that client-side apply writes, 256 KiB."""

QUANTITY = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
    r"(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
INT_OR_STRING: Schema = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
SCALARS: dict[str, Schema] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": INT_OR_STRING | {"pattern": QUANTITY, "maxLength": 64},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": INT_OR_STRING | {"maxLength": 253},
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": {"type": "string", "format": "date-time", "maxLength": 64},
}

OMITTED = {"io.k8s.api.core.v1.PodSpec": {"ephemeralContainers"}}  # never part of a template
METADATA = ("annotations", "finalizers", "labels")
"""What pods take over from their template's metadata."""

MOST_ITEMS = {"containers": 16, "initContainers": 16, "env": 512}
LONG_TEXTS = {"annotations", "args", "command", "value"}
KEPT = ("type", "format", "required", "x-kubernetes-map-type")
"""Lists are replaced as a whole, as atomic ones: who owns each item of each list would take more room than the list."""

UNEXPLAINED = {
    "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "fc", "flexVolume", "flocker",
    "gcePersistentDisk", "gitRepo", "glusterfs", "iscsi", "photonPersistentDisk", "portworxVolume", "quobyte", "rbd",
    "scaleIO", "storageos", "vsphereVolume",
}  # fmt: skip
"""Volumes of which most clusters have none: what is in them goes without descriptions."""


def main(path: str) -> None:
    """Write the schema as JSON."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump(pod_template(), file, indent=1)
        file.write("\n")


def pod_template() -> Schema:
    source = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{KUBERNETES}.0-local" / "_definitions.json"
    definitions: dict[str, Schema] = json.loads(source.read_text(encoding="utf-8"))["$defs"]
    meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    kept = {name: definitions[meta]["properties"][name] for name in METADATA}
    definitions[meta] = definitions[meta] | {"properties": kept}
    schema = _structural({"$ref": "#/$defs/io.k8s.api.core.v1.PodTemplateSpec"}, "", definitions, explained=True)
    schema["required"] = ["spec"]
    schema["properties"]["spec"]["properties"]["containers"]["minItems"] = 1
    return schema


def _structural(schema: Schema, name: str, definitions: dict[str, Schema], *, explained: bool) -> Schema:
    """`name` is the field's; items of a list and values of a map have their list's and map's."""
    reference = schema.get("$ref", "").rpartition("/")[2]
    made: Schema = {}
    if explained and (
        text := _shortened(schema.get("description") or definitions.get(reference, {}).get("description"))
    ):
        made["description"] = text
    if reference in SCALARS:
        return made | SCALARS[reference]
    if reference:
        omitted = OMITTED.get(reference, set())
        schema = definitions[reference] | {key: value for key, value in schema.items() if key != "$ref"}
        schema["properties"] = {
            field: child for field, child in schema.get("properties", {}).items() if field not in omitted
        }
    made |= {key: schema[key] for key in KEPT if schema.get(key)}
    kind = made["type"] = _type(schema)
    below = explained and name not in UNEXPLAINED
    if kind == "string" and "maxLength" not in made:
        made["maxLength"] = 1 << 17 if name in LONG_TEXTS else 4096
    if kind == "array":
        made["maxItems"] = MOST_ITEMS.get(name, 128)
        made["items"] = _structural(schema["items"], name, definitions, explained=False)
        if "properties" in made["items"]:
            made["items"] = _structural(schema["items"], name, definitions, explained=below)
            made["items"].pop("description", None)
    if kind == "object" and schema.get("properties"):
        made["properties"] = {
            field: _structural(child, field, definitions, explained=below)
            for field, child in sorted(schema["properties"].items())
        }
    elif kind == "object":
        made["maxProperties"] = 256
        made["additionalProperties"] = _structural(schema["additionalProperties"], name, definitions, explained=False)
    return made


def _type(schema: Schema) -> str:
    """Without the null that built-in types take for absence."""
    kinds = schema.get("type", "object")
    (kind,) = [kinds] if isinstance(kinds, str) else [each for each in kinds if each != "null"]
    return str(kind)


def _shortened(text: str | None) -> str:
    """The first sentence, as much as there is room for."""
    sentence = " ".join((text or "").split()).split(". ")[0].removesuffix(".")
    if len(sentence) < DESCRIPTION:
        return sentence + "." if sentence else ""
    return sentence[:DESCRIPTION].rpartition(" ")[0].rstrip(",;:") + " …"


if __name__ == "__main__":
    main(sys.argv[1])
