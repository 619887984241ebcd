{{/* What the operator does in a namespace it serves. `helm template` of this is compared with the requests it makes. */}}
{{- define "protoqueue.namespaceRules" -}}
- apiGroups: [protoqueue.dev]
  resources: [queues, consumergroups, redrives]
  verbs: [list, watch, patch]
# A Redrive goes some time after it has finished, if it says so.
- apiGroups: [protoqueue.dev]
  resources: [redrives]
  verbs: [delete]
# A group may be seen before its Queue: what is not known is asked for before it is called missing.
- apiGroups: [protoqueue.dev]
  resources: [queues]
  verbs: [get]
- apiGroups: [protoqueue.dev]
  resources: [queues/status, consumergroups/status, redrives/status]
  verbs: [patch]
# The owner reference of a group's Deployment blocks the group's deletion, which some admission plugins ask this for.
- apiGroups: [protoqueue.dev]
  resources: [consumergroups/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments/scale, statefulsets/scale]
  verbs: [get, patch]
# Before a group gets smaller, its pods are marked by how much each has to do: idle ones go first.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, patch]
{{- range .Values.rbac.scaleTargets }}
- apiGroups: [{{ .apiGroup | quote }}]
  resources: [{{ .resource }}/scale]
  verbs: [get, patch]
{{- end }}
{{- if .Values.rbac.connectionSecrets }}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
{{- end }}
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
# Whether the namespace is on its way out, so that nothing in it holds it up for ever.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end -}}

{{/*
With `namespaces`, what has to outlive a namespace's contents. Its Role and its RoleBinding go with all the rest when the
namespace is deleted, in any order; without these rights nobody could take the finalizers off what goes after them.
*/}}
{{- define "protoqueue.clusterRules" -}}
- apiGroups: [protoqueue.dev]
  resources: [queues, consumergroups, redrives]
  verbs: [list, watch, patch]
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end -}}
