{{- /*
The rights of the operator: exactly the requests that it sends. No wildcards; no Secrets, since only
kubelets read those of a pod; no pods/log, /exec, /portforward or /proxy, since a pod's status contains
why it ended, and schedulers are asked over the network. Children have blockOwnerDeletion: false, so no
rule for a finalizers subresource is needed.
*/ -}}
{{- define "daskjob.rules" -}}
# The jobs: watched and read, never created by the operator. patch removes the finalizer that the
# operator of dask-kubernetes may have left; delete is for ttlSecondsAfterFinished.
- apiGroups: [kubernetes.dask.org]
  resources: [daskjobs]
  verbs: [get, list, watch, patch, delete]
# The children of jobs and clusters: created, scaled (patch), deleted at the end. A group or an
# autoscaler that a user created gets an owner (patch), so that it is deleted with its cluster.
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters, daskworkergroups, daskautoscalers]
  verbs: [get, list, watch, create, patch, delete]
# Their status. It is never read apart from its object.
- apiGroups: [kubernetes.dask.org]
  resources: [daskjobs/status, daskclusters/status, daskworkergroups/status, daskautoscalers/status]
  verbs: [patch]
# Runners, schedulers and workers. get checks a pod that the watch no longer shows before it counts as
# lost; patch stops a runner and keeps its log (spec.activeDeadlineSeconds).
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, patch, delete]
# The Service of a scheduler, and the files of a job. get finds the owner of an object whose name is
# taken. Garbage collection deletes both with their owner.
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create]
# create records what happened to a job; list reads the Events of a pod that does not start (a volume
# that cannot be mounted appears nowhere else).
- apiGroups: [""]
  resources: [events]
  verbs: [create, list]
{{- end }}

{{- /* One Lease: two operators never work on the same objects, even of two releases. */ -}}
{{- define "daskjob.leaseRules" -}}
# The Lease of the leader: read, and renewed every few seconds.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [daskjob-operator]
  verbs: [get, update]
# Its creation; RBAC cannot restrict create to a name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
{{- end }}

{{- define "daskjob.extraRules" -}}
{{- with .Values.rbac.extraRules -}}
# rbac.extraRules
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "daskjob.subject" -}}
- kind: ServiceAccount
  name: {{ include "daskjob.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}
