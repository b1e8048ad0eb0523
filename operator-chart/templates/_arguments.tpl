{{- /* What the operator is told to watch. */ -}}

{{- /*
watchNamespaces, and the words after --namespace in kopfArgs, patterns among them, as a JSON array;
empty: all namespaces. As the operator reads them: --namespace=a, --namespace a, -n a, and a,b for both.
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

{{- /* Those of them that are patterns: team-*, !team-test. */ -}}
{{- define "daskjob.namespacePatterns" -}}
{{- $patterns := list }}
{{- range include "daskjob.namedNamespaces" . | fromJsonArray }}
  {{- if regexMatch "[*?!\\[\\]]" . }}
    {{- $patterns = append $patterns . }}
  {{- end }}
{{- end }}
{{- $patterns | toJson }}
{{- end }}

{{- /* Where the Leases are by which operators agree on one; empty: none, as --no-lease says. */ -}}
{{- define "daskjob.leaseNamespaces" -}}
{{- $namespaces := include "daskjob.namedNamespaces" . | fromJsonArray | default (list "kube-system") }}
{{- if include "daskjob.namespacePatterns" . | fromJsonArray }}
  {{- $namespaces = list "kube-system" }}
{{- end }}
{{- ternary list $namespaces (has "--no-lease" .Values.kopfArgs) | toJson }}
{{- end }}

{{- /* Whether the operator has a ClusterRole; empty: not. */ -}}
{{- define "daskjob.clusterWide" -}}
{{- if and .Values.rbac.cluster (not .Values.watchNamespaces) }}true{{ end }}
{{- end }}

{{- /*
kopfArgs as a JSON array, with a --namespace for each of watchNamespaces. An operator that has a Role only cannot watch all namespaces: where none
is named, it is the release's.
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
