{{- define "berth.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "berth.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := include "berth.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "berth.selectorLabels" -}}
app.kubernetes.io/name: {{ include "berth.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "berth.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "berth.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: berth
{{- end }}

{{- define "berth.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "berth.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is required when serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "berth.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "berth.port" -}}
{{- regexFind "[0-9]+$" (.Values.config.listen | default "0.0.0.0:8080") }}
{{- end }}

{{- define "berth.leaseName" -}}
{{- (.Values.config.leaderElection).leaseName | default "berth" }}
{{- end }}

{{- define "berth.separate" -}}
{{- if and .Values.config.gateway (eq .Values.gateway.mode "Separate") }}true{{ end }}
{{- end }}

{{- /* Whether the API behind kube-apiserver is served. */ -}}
{{- define "berth.aggregated" -}}
{{- if and .Values.config.gateway .Values.aggregatedAPI.enabled }}true{{ end }}
{{- end }}

{{- define "berth.gatewayAccountName" -}}
{{- if not (include "berth.separate" .) }}
{{- include "berth.serviceAccountName" . }}
{{- else if .Values.serviceAccount.create }}
{{- default (printf "%s-gateway" (include "berth.fullname" .)) .Values.gateway.serviceAccountName }}
{{- else }}
{{- required "gateway.serviceAccountName is required when serviceAccount.create is false and gateway.mode is Separate" .Values.gateway.serviceAccountName }}
{{- end }}
{{- end }}

{{- /*
The Deployments, as JSON. The only one has the labels of the release alone: a Deployment's selector
cannot be changed, and this one was there before there were two.
*/ -}}
{{- define "berth.parts" -}}
{{- $name := include "berth.fullname" . }}
{{- $release := include "berth.selectorLabels" . | fromYaml }}
{{- if include "berth.separate" . }}
{{- list
  (dict "name" (printf "%s-controller" $name) "role" "controller" "controls" true "serves" false
    "replicas" .Values.replicas "account" (include "berth.serviceAccountName" .)
    "labels" (merge (dict "app.kubernetes.io/component" "controller") $release))
  (dict "name" (printf "%s-gateway" $name) "role" "gateway" "controls" false "serves" true
    "replicas" .Values.gateway.replicas "account" (include "berth.gatewayAccountName" .)
    "labels" (merge (dict "app.kubernetes.io/component" "gateway") $release))
  | toJson }}
{{- else }}
{{- list (dict "name" $name "role" "all" "controls" true "serves" (not (not .Values.config.gateway))
  "replicas" .Values.replicas "account" (include "berth.serviceAccountName" .) "labels" $release) | toJson }}
{{- end }}
{{- end }}

{{- /* Labels of the Pods that serve the gateway. */ -}}
{{- define "berth.gatewaySelectorLabels" -}}
{{- range include "berth.parts" . | fromJsonArray }}
{{- if .serves }}
{{- toYaml .labels }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The ports of the gateway by their names, as JSON. */ -}}
{{- define "berth.gatewayPorts" -}}
{{- $gateway := .Values.config.gateway }}
{{- dict
  "public" (regexFind "[0-9]+$" ($gateway.listen | default "0.0.0.0:8480") | int)
  "aggregated" (regexFind "[0-9]+$" (($gateway.aggregated).listen | default "0.0.0.0:8443") | int)
  "internal" (regexFind "[0-9]+$" (($gateway.internal).listen | default "0.0.0.0:8444") | int)
  | toJson }}
{{- end }}

{{- /* The configuration file: the values, and the Service that only the chart knows. */ -}}
{{- define "berth.config" -}}
{{- $config := deepCopy .Values.config }}
{{- if include "berth.aggregated" . }}
{{- $aggregated := merge (dict "service" (printf "%s-aggregated" (include "berth.fullname" .))) ($config.gateway.aggregated | default dict) }}
{{- $_ := set $config.gateway "aggregated" $aggregated }}
{{- else if $config.gateway }}
{{- $_ := unset $config.gateway "aggregated" }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{- /* What the schema cannot say about the configuration, and would otherwise only be seen in the log. */ -}}
{{- define "berth.checkConfig" -}}
{{- $names := list }}
{{- range .Values.config.backends }}
{{- if has .name $names }}
{{- fail (printf "config.backends: the name %q is used twice" .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- if not $names }}
{{- fail "config.backends is empty: name at least one Docker host, as in the comments of the chart's values.yaml" }}
{{- end }}
{{- with .Values.config.defaultBackend }}
{{- if not (has . $names) }}
{{- fail (printf "config.defaultBackend: %q is not the name of a backend; there is %s" . (join ", " $names)) }}
{{- end }}
{{- end }}
{{- if not .Values.config.gateway }}
{{- if eq .Values.gateway.mode "Separate" }}
{{- fail "gateway.mode is Separate, but there is no gateway: set config.gateway" }}
{{- end }}
{{- if .Values.gateway.ingress.enabled }}
{{- fail "gateway.ingress is enabled, but there is no gateway: set config.gateway" }}
{{- end }}
{{- else }}
{{- $ports := prepend (include "berth.gatewayPorts" . | fromJson | values) (include "berth.port" . | int) }}
{{- if ne (len ($ports | uniq)) (len $ports) }}
{{- fail "config.listen and the listen addresses below config.gateway need ports of their own" }}
{{- end }}
{{- end }}
{{- $volumes := list "config" "docker-socket" "gateway-tls" }}
{{- range .Values.backendSecrets }}
{{- $volume := printf "backend-%s" (.name | default .secretName) }}
{{- if has $volume $volumes }}
{{- fail (printf "backendSecrets: the name %q is used twice" (.name | default .secretName)) }}
{{- end }}
{{- $volumes = append $volumes $volume }}
{{- end }}
{{- end }}

{{- /* Namespaces whose Templates others may use, as JSON. */ -}}
{{- define "berth.templateNamespaces" -}}
{{- $templates := .Values.config.templates | default dict }}
{{- $namespaces := $templates.sharedNamespaces | default list }}
{{- with $templates.default }}
{{- $namespaces = append $namespaces .namespace }}
{{- end }}
{{- toJson $namespaces }}
{{- end }}
