{{- /*
A PodMonitor or ServiceMonitor. Takes chart (the root context), kind, component, port, selector
(labels, as a dictionary) and settings (its part of values.yaml).
*/ -}}
{{- define "daskjob.monitor" -}}
apiVersion: monitoring.coreos.com/v1
kind: {{ .kind }}
metadata:
  name: {{ include "daskjob.fullname" .chart }}-{{ .component }}
  namespace: {{ .settings.namespace | default .chart.Release.Namespace }}
  labels:
    {{- include "daskjob.labels" .chart | nindent 4 }}
    {{- with .settings.additionalLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- toYaml .selector | nindent 6 }}
  namespaceSelector:
    {{- .settings.namespaceSelector | default (dict "matchNames" (list .chart.Release.Namespace)) | toYaml | nindent 4 }}
  {{- with .settings.jobLabel }}
  jobLabel: {{ . | quote }}
  {{- end }}
  {{- with .settings.targetLabels }}
  targetLabels:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .settings.podTargetLabels }}
  podTargetLabels:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{ ternary "endpoints" "podMetricsEndpoints" (eq .kind "ServiceMonitor") }}:
    - port: {{ .port }}
      interval: {{ .settings.interval }}
      {{- with .settings.metricRelabelings }}
      metricRelabelings:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}
