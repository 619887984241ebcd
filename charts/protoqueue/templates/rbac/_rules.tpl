{{/* What the operator does in a namespace it serves. `helm template` of this is compared with the requests it makes. */}}
{{- define "protoqueue.namespaceRules" -}}
- apiGroups: [protoqueue.dev]
  resources: [queues, consumergroups]
  verbs: [list, watch, patch]
# A group may be seen before its Queue: what is not known is asked for before it is called missing.
- apiGroups: [protoqueue.dev]
  resources: [queues]
  verbs: [get]
- apiGroups: [protoqueue.dev]
  resources: [queues/status, consumergroups/status]
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
  verbs: [create]
# Whether the namespace is on its way out, so that nothing in it holds it up for ever.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end -}}

{{/* What the operator does outside of namespaces, wherever it may. */}}
{{- define "protoqueue.clusterRules" -}}
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [list, watch]
{{- if .Values.namespaces }}
# Whether the namespaces it is to serve exist.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
{{- end }}
{{- end -}}
