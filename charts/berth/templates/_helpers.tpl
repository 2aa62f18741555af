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
{{- $volumes := list "config" "docker-socket" }}
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
