{{/* The name of everything: the release's, with the chart's unless it says so already. */}}
{{- define "darwin.name" -}}
{{- $name := contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) -}}
{{- $name | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{/* What selects the operator's Pod. */}}
{{- define "darwin.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "darwin.labels" -}}
{{ include "darwin.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* An image's reference; of a list: the root, the image's values. */}}
{{- define "darwin.image" -}}
{{- $root := first . -}}
{{- $image := last . -}}
{{- with $image.registry | default $root.Values.imageRegistry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ end -}}
{{- end }}

{{/* The operator's ServiceAccount. */}}
{{- define "darwin.account" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "darwin.name" .) "default") -}}
{{- end }}

{{/*
Whether an object for Prometheus Operator is wanted; of a list: the root, auto, true or false. Something or
nothing, since a template gives text.
*/}}
{{- define "darwin.wanted" -}}
{{- $there := (first .).Capabilities.APIVersions.Has "monitoring.coreos.com/v1" -}}
{{- $wanted := last . | toString -}}
{{- if or (eq $wanted "true") (and (eq $wanted "auto") $there) }}wanted{{ end -}}
{{- end }}

{{/* Name of `helm test`'s Pod, and the label that it has instead of the operator's, so that no Service takes it for that. */}}
{{- define "darwin.testName" -}}
{{- include "darwin.name" . | trunc 58 | trimSuffix "-" }}-test
{{- end }}

{{- define "darwin.testSelector" -}}
app.kubernetes.io/name: {{ include "darwin.testName" . }}
{{- end }}

{{/* Pod Security's `restricted`. */}}
{{- define "darwin.podSecurity" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "darwin.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/*
What the operator asks of the API server, and nothing else (operator/darwinmerge_operator/api.py; lists and watches are
kopf's). No Secrets: workers get theirs from the kubelet.
*/}}
{{- define "darwin.rules" -}}
- apiGroups: [darwinmerge.io]
  resources: [darwinmerges]
  verbs: [get, list, watch]
- apiGroups: [darwinmerge.io]
  resources: [darwinmerges/status]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [configmaps] # a run's ledger
  verbs: [get, create, update]
- apiGroups: [""]
  resources: [events] # those of a run are told; those of its Jobs say why a Pod can't be created
  verbs: [create, list]
{{- if .Values.kueue.enabled }}
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads] # say why Kueue holds a Job
  verbs: [list]
{{- end }}
{{- if .Values.serving.enabled }}
- apiGroups: [apps]
  resources: [deployments] # servers of children: one that is the run's, or isn't there, is applied
  verbs: [get, create, patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, create, patch]
{{- end }}
{{- end }}
