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
{{- fail "nats.tls.caSecret is for a NATS named by nats.url; the bundled one takes nats.bundled.tlsSecret" -}}
{{- end -}}
{{- with .Values.nats.bundled -}}
{{- $closed := or .tlsSecret $.Values.networkPolicy.enabled -}}
{{- if and .enabled .authSecret (gt (int .replicas) 1) (not $closed) -}}
{{- fail "nats.bundled.authSecret does not keep strangers from joining three servers as a fourth: set nats.bundled.tlsSecret or networkPolicy.enabled with it" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.nats.existingSecret .Values.nats.tls.caSecret -}}
{{- fail "nats.existingSecret holds its certificate authority under ca.crt: leave nats.tls.caSecret empty" -}}
{{- end -}}
{{- end -}}

{{- define "protoqueue.natsUrl" -}}
{{- if .Values.nats.bundled.enabled -}}
{{- $scheme := empty .Values.nats.bundled.tlsSecret | ternary "nats" "tls" -}}
{{- printf "%s://%s.%s.svc:4222" $scheme (include "protoqueue.natsName" .) .Release.Namespace -}}
{{- else -}}
{{- .Values.nats.url -}}
{{- end -}}
{{- end -}}

{{/* Not empty where the bundled servers want something of their clients. */}}
{{- define "protoqueue.natsGuarded" -}}
{{- with .Values.nats.bundled -}}
{{- if .enabled -}}{{ .authSecret | default .tlsSecret }}{{- end -}}
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
{{- else if include "protoqueue.natsGuarded" . }}
- name: PROTOQUEUE_NATS_SECRET_DIR
  value: /etc/protoqueue/nats
{{- else if .Values.nats.tls.caSecret }}
- name: PROTOQUEUE_NATS_CA
  value: /etc/protoqueue/nats/{{ .Values.nats.tls.caKey }}
{{- end }}
{{- end -}}

{{- define "protoqueue.natsVolumeMounts" -}}
{{- if or .Values.nats.existingSecret .Values.nats.tls.caSecret (include "protoqueue.natsGuarded" .) }}
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
{{- if include "protoqueue.natsGuarded" . }}
- name: nats
  projected:
    defaultMode: 0440
    sources:
    {{- with .Values.nats.bundled.authSecret }}
    - secret: {name: {{ . }}, items: [{key: user, path: user}, {key: password, path: password}]}
    {{- end }}
    {{- with .Values.nats.bundled.tlsSecret }}
    # The certificate is the server's: no client shows it.
    - secret: {name: {{ . }}, items: [{key: ca.crt, path: ca.crt}]}
    {{- end }}
{{- end }}
{{- end -}}
