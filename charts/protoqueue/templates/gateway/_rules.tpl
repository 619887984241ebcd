{{/* What the gateway does where there are queues. */}}
{{- define "protoqueue.gatewayRules" -}}
- apiGroups: [protoqueue.dev]
  resources: [queues]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [protoqueue.dev]
  resources: [consumergroups]
  verbs: [get, list, watch, create, delete]
- apiGroups: [protoqueue.dev]
  resources: [redrives]
  verbs: [get, list, create, patch, delete]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
{{- end -}}
