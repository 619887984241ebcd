{{- define "protoqueue.natsConfig" -}}
{{- $name := include "protoqueue.natsName" . -}}
{{- $bundled := .Values.nats.bundled -}}
server_name: $POD_NAME
port: 4222
# The kubelet's probes ask here; the operator never does.
http_port: 8222
pid_file: /tmp/nats.pid
max_payload: {{ int64 .Values.nats.bundled.maxPayload }}
{{- if gt (int $bundled.replicas) 1 }}
# A server that leaves tells its clients, who go elsewhere before it is gone.
lame_duck_grace_period: "5s"
lame_duck_duration: "30s"
{{- end }}

jetstream {
  # One server and three keep apart what they store: three would delete as orphaned what one has stored alone.
  store_dir: /data/{{ eq (int $bundled.replicas) 1 | ternary "alone" "cluster" }}
  # In quotes: a bare 2m is two million.
  sync_interval: {{ .Values.nats.bundled.syncInterval | quote }}
  # A tenth of the volume is left for what JetStream keeps beside the messages.
  max_file_store: {{ div (mul (include "protoqueue.natsBytes" .Values.nats.bundled.storage.size) 9) 10 }}
  max_memory_store: {{ include "protoqueue.natsBytes" .Values.nats.bundled.storage.memory }}
}
{{- if $bundled.authSecret }}

authorization {
  user: $NATS_USER
  password: $NATS_PASSWORD
}
{{- end }}
{{- if $bundled.tlsSecret }}

tls {
  {{- include "protoqueue.natsTls" . | nindent 2 }}
}
{{- end }}
{{- if gt (int .Values.nats.bundled.replicas) 1 }}

cluster {
  name: {{ $name }}
  port: 6222
  # Clients find every server through the Service, so pod addresses need not be told them.
  no_advertise: true
  {{- if $bundled.tlsSecret }}
  # Between servers it is mutual: who has no certificate of the same authority does not join.
  tls {
    {{- include "protoqueue.natsTls" . | nindent 4 }}
  }
  {{- end }}
  routes: [
    {{- range $ordinal := until (int .Values.nats.bundled.replicas) }}
    nats://{{ $name }}-{{ $ordinal }}.{{ $name }}-cluster.{{ $.Release.Namespace }}.svc:6222
    {{- end }}
  ]
}
{{- end }}
{{- end -}}

{{- define "protoqueue.natsTls" -}}
cert_file: /etc/nats-tls/tls.crt
key_file: /etc/nats-tls/tls.key
ca_file: /etc/nats-tls/ca.crt
{{- end -}}

{{/* A Kubernetes quantity, in the powers of 1024 that the schema admits, as bytes. */}}
{{- define "protoqueue.natsBytes" -}}
{{- $units := dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $number := regexFind "^[0-9]+" . | int64 -}}
{{- mul $number (get $units (trimPrefix (toString $number) .)) -}}
{{- end -}}
