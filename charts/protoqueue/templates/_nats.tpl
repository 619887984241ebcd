{{/* Refuses what names no server, or two. */}}
{{- define "protoqueue.checkNats" -}}
{{- $external := or .Values.nats.url .Values.nats.existingSecret -}}
{{- if and .Values.nats.bundled.enabled $external -}}
{{- fail "nats.url or nats.existingSecret names a NATS of your own: set nats.bundled.enabled to false with it" -}}
{{- end -}}
{{- if not (or .Values.nats.bundled.enabled $external) -}}
{{- fail "no NATS: set nats.url, nats.existingSecret or nats.bundled.enabled" -}}
{{- end -}}
{{- if and .Values.nats.bundled.enabled .Values.nats.tls.caSecret -}}
{{- fail "nats.tls.caSecret is for a NATS named by nats.url; the bundled one speaks no TLS" -}}
{{- end -}}
{{- if and .Values.nats.existingSecret .Values.nats.tls.caSecret -}}
{{- fail "nats.existingSecret holds its certificate authority under ca.crt: leave nats.tls.caSecret empty" -}}
{{- end -}}
{{- end -}}

{{- define "protoqueue.natsUrl" -}}
{{- if .Values.nats.bundled.enabled -}}
{{- printf "nats://%s.%s.svc:4222" (include "protoqueue.natsName" .) .Release.Namespace -}}
{{- else -}}
{{- .Values.nats.url -}}
{{- end -}}
{{- end -}}

{{/* Environment that names the NATS server; the same for the operator and the test. */}}
{{- define "protoqueue.natsEnv" -}}
{{- include "protoqueue.checkNats" . -}}
{{- with include "protoqueue.natsUrl" . }}
- name: PROTOQUEUE_NATS_URL
  value: {{ . | quote }}
{{- end }}
{{- if .Values.nats.existingSecret }}
{{- if not .Values.nats.url }}
- name: PROTOQUEUE_NATS_URL
  valueFrom: {secretKeyRef: {name: {{ .Values.nats.existingSecret }}, key: url}}
{{- end }}
- name: PROTOQUEUE_NATS_SECRET_DIR
  value: /etc/protoqueue/nats
{{- else if .Values.nats.tls.caSecret }}
- name: PROTOQUEUE_NATS_CA
  value: /etc/protoqueue/nats/{{ .Values.nats.tls.caKey }}
{{- end }}
{{- end -}}

{{- define "protoqueue.natsVolumeMounts" -}}
{{- if or .Values.nats.existingSecret .Values.nats.tls.caSecret }}
- name: nats
  mountPath: /etc/protoqueue/nats
  readOnly: true
{{- end }}
{{- end -}}

{{- define "protoqueue.natsVolumes" -}}
{{- with .Values.nats.existingSecret | default .Values.nats.tls.caSecret }}
- name: nats
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end -}}
