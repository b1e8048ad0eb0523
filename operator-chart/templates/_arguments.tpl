{{- /* The namespaces that the operator watches, and its command line. */ -}}

{{- /*
watchNamespaces and the values of --namespace in kopfArgs, including patterns, as a JSON array; empty:
all namespaces. Parsed as the operator does: --namespace=a, --namespace a, -n a, and a,b for two.
*/ -}}
{{- define "daskjob.namedNamespaces" -}}
{{- $words := .Values.watchNamespaces | default list }}
{{- $isName := false }}
{{- range .Values.kopfArgs }}
  {{- if $isName }}
    {{- $words = append $words . }}
    {{- $isName = false }}
  {{- else if has . (list "--namespace" "-n") }}
    {{- $isName = true }}
  {{- else if regexMatch "^(--namespace=|-n)" . }}
    {{- $words = append $words (regexReplaceAll "^(--namespace=|-n=?)" . "") }}
  {{- end }}
{{- end }}
{{- $names := list }}
{{- range $words | join "," | splitList "," }}
  {{- $names = append $names (trim .) }}
{{- end }}
{{- without $names "" | uniq | toJson }}
{{- end }}

{{- /* The patterns among them: team-*, !team-test. */ -}}
{{- define "daskjob.namespacePatterns" -}}
{{- $patterns := list }}
{{- range include "daskjob.namedNamespaces" . | fromJsonArray }}
  {{- if regexMatch "[*?!\\[\\]]" . }}
    {{- $patterns = append $patterns . }}
  {{- end }}
{{- end }}
{{- $patterns | toJson }}
{{- end }}

{{- /* The namespaces of the Leases for leader election; empty: none, because of --no-lease. */ -}}
{{- define "daskjob.leaseNamespaces" -}}
{{- $namespaces := include "daskjob.namedNamespaces" . | fromJsonArray | default (list "kube-system") }}
{{- if include "daskjob.namespacePatterns" . | fromJsonArray }}
  {{- $namespaces = list "kube-system" }}
{{- end }}
{{- ternary list $namespaces (has "--no-lease" .Values.kopfArgs) | toJson }}
{{- end }}

{{- /* "true" if the operator has a ClusterRole, else empty. */ -}}
{{- define "daskjob.clusterWide" -}}
{{- if and .Values.rbac.cluster (not .Values.watchNamespaces) }}true{{ end }}
{{- end }}

{{- /*
kopfArgs as a JSON array, with a --namespace for each of watchNamespaces. An operator with a Role only
cannot watch all namespaces: if none is given, it watches the release's.
*/ -}}
{{- define "daskjob.arguments" -}}
{{- $arguments := .Values.kopfArgs | default list }}
{{- range .Values.watchNamespaces }}
  {{- $arguments = append $arguments (printf "--namespace=%s" .) }}
{{- end }}
{{- if not (include "daskjob.clusterWide" .) }}
  {{- $arguments = without $arguments "--all-namespaces" "-A" }}
  {{- if include "daskjob.namedNamespaces" . | fromJsonArray | empty }}
    {{- $arguments = append $arguments (printf "--namespace=%s" .Release.Namespace) }}
  {{- end }}
{{- end }}
{{- $arguments | toJson }}
{{- end }}
