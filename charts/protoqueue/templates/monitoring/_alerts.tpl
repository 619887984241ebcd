{{/* The labels every alert has, and its runbook: `dict "rules" <values> "alert" <name> "severity" <severity>`. */}}
{{- define "protoqueue.alertLabels" -}}
severity: {{ .severity }}
{{- with .rules.alertLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "protoqueue.runbook" }}
{{- with .rules.runbookUrl }}
        runbook_url: {{ printf "%s%s" . $.alert | quote }}
{{- end }}
{{- end -}}
