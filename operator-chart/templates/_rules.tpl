{{- /*
What the operator may do: no more than it does. No wildcard; no Secret, since kubelets alone read
those of a pod; no pods/log, /exec, /portforward or /proxy, since why a pod ended stands in its
status, and schedulers are asked over the network. Children are owned with blockOwnerDeletion:
false, so no finalizers subresource is needed.
*/ -}}
{{- define "daskjob.rules" -}}
# The jobs: watched and read, never made by the operator. patch takes off the finalizer that
# dask-kubernetes' operator may have left; delete is for ttlSecondsAfterFinished.
- apiGroups: [kubernetes.dask.org]
  resources: [daskjobs]
  verbs: [get, list, watch, patch, delete]
# What a job or a cluster is made of: created, scaled (patch), removed at the end. A group or an
# autoscaler that a user made gets an owner (patch), so that it goes with its cluster.
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters, daskworkergroups, daskautoscalers]
  verbs: [get, list, watch, create, patch, delete]
# What is told of them. Never read apart from its object.
- apiGroups: [kubernetes.dask.org]
  resources: [daskjobs/status, daskclusters/status, daskworkergroups/status, daskautoscalers/status]
  verbs: [patch]
# Runners, schedulers and workers. get asks once more for one that a watch no longer shows, before
# it is called lost; patch stops a runner so that its log stays (spec.activeDeadlineSeconds).
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, patch, delete]
# The address of a scheduler, and the files of a job. get looks whose it is when a name is taken.
# Both go with their owner: nobody deletes them.
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create]
# create tells what happened to a job; list reads what Kubernetes says of a pod that does not
# start (a volume that cannot be mounted is told nowhere else).
- apiGroups: [""]
  resources: [events]
  verbs: [create, list]
{{- end }}

{{- /* One Lease, so that never two operators work on the same objects, of two releases neither. */ -}}
{{- define "daskjob.leaseRules" -}}
# The lock of the working operator: read, and renewed every few seconds.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [daskjob-operator]
  verbs: [get, update]
# Its creation, which no rule can restrict to a name.
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
