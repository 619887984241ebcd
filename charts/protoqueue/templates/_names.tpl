{{/* A StatefulSet's name has 52 characters at most, for its pods' labels hold it with a hash: 5 of them are "-nats". */}}
{{- define "protoqueue.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 47 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 47 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 47 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Cluster-wide objects of two releases of one name in two namespaces must not meet. */}}
{{- define "protoqueue.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "protoqueue.fullname" .) -}}
{{- end -}}

{{- define "protoqueue.natsName" -}}
{{- printf "%s-nats" (include "protoqueue.fullname" .) -}}
{{- end -}}

{{- define "protoqueue.gatewayName" -}}
{{- printf "%s-gateway" (include "protoqueue.fullname" .) -}}
{{- end -}}

{{- define "protoqueue.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "protoqueue.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "protoqueue.chartLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{ include "protoqueue.podLabels" . }}
{{- end -}}

{{/* Nothing here changes with the chart's version: an upgrade restarts only pods that have really changed. */}}
{{- define "protoqueue.podLabels" -}}
app.kubernetes.io/part-of: protoqueue
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Selectors are immutable: nothing here may change between releases. */}}
{{- define "protoqueue.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "protoqueue.natsSelector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: nats
{{- end -}}

{{- define "protoqueue.gatewaySelector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gateway
{{- end -}}

{{- define "protoqueue.gatewayLabels" -}}
{{ include "protoqueue.gatewaySelector" . }}
{{ include "protoqueue.chartLabels" . }}
{{- end -}}

{{- define "protoqueue.labels" -}}
{{ include "protoqueue.selector" . }}
{{ include "protoqueue.chartLabels" . }}
{{- end -}}

{{- define "protoqueue.natsLabels" -}}
{{ include "protoqueue.natsSelector" . }}
{{ include "protoqueue.chartLabels" . }}
{{- end -}}

{{- define "protoqueue.testSelector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end -}}

{{- define "protoqueue.releaseSelector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: release
{{- end -}}
