{{- /* Names and labels of the objects. */ -}}

{{- define "daskjob.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "daskjob.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "daskjob.name" .) .Release.Name -}}
{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name (include "daskjob.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "daskjob.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (ternary (include "daskjob.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "daskjob.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "daskjob.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* The selector of a Deployment is immutable, so these labels must not change. */ -}}
{{- define "daskjob.selectorLabels" -}}
app.kubernetes.io/name: {{ include "daskjob.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
