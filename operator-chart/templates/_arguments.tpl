{{- /* What the operator is told to watch. */ -}}

{{- /* The namespaces that kopfArgs name, patterns among them, as a JSON array; empty: all. */ -}}
{{- define "daskjob.namedNamespaces" -}}
{{- $names := list }}
{{- $isName := false }}
{{- range .Values.kopfArgs }}
  {{- if $isName }}
    {{- $names = append $names . }}
    {{- $isName = false }}
  {{- else if has . (list "--namespace" "-n") }}
    {{- $isName = true }}
  {{- else if hasPrefix "--namespace=" . }}
    {{- $names = append $names (trimPrefix "--namespace=" .) }}
  {{- end }}
{{- end }}
{{- $names | uniq | toJson }}
{{- end }}

{{- /* Those of them that are patterns, as kopf reads them: team-*, a,b, !c. */ -}}
{{- define "daskjob.namespacePatterns" -}}
{{- $patterns := list }}
{{- range include "daskjob.namedNamespaces" . | fromJsonArray }}
  {{- if regexMatch "[^-a-z0-9]" . }}
    {{- $patterns = append $patterns . }}
  {{- end }}
{{- end }}
{{- $patterns | toJson }}
{{- end }}

{{- /* kopfArgs, as a JSON array, with the namespaces to watch where they do not say which. */ -}}
{{- define "daskjob.arguments" -}}
{{- $everywhere := list "--all-namespaces" "-A" }}
{{- $arguments := list }}
{{- $told := include "daskjob.namedNamespaces" . | fromJsonArray | empty | not }}
{{- range .Values.kopfArgs }}
  {{- if not (has . $everywhere) }}
    {{- $arguments = append $arguments . }}
  {{- else if $.Values.rbac.cluster }}
    {{- $arguments = append $arguments . }}
    {{- $told = true }}
  {{- end }}
{{- end }}
{{- if not $told }}
  {{- $namespace := printf "--namespace=%s" .Release.Namespace }}
  {{- $arguments = append $arguments (ternary "--all-namespaces" $namespace .Values.rbac.cluster) }}
{{- end }}
{{- $arguments | toJson }}
{{- end }}
