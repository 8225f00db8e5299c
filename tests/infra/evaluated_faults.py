"""Faults to plant that show only in an evaluated deployment: names, places, ids, orders and values that were chosen."""

from tests.infra.fault import Mutant, path_of


def _mutants() -> list[Mutant]:
    rows = [
        # names
        ("long-app", "main", "app: 'func-${token}'", "app: 'func-background-responses-${token}'", "compiles"),
        ("long-plan", "main", "plan: 'plan-${token}'", "plan: 'plan-of-the-background-responses-of-an-environment-${token}'", "names"),
        ("long-vault", "main", "vault: 'kv-${token}'", "vault: 'vault-of-secrets-${token}'", "compiles"),
        ("two-hyphens", "main", "vault: 'kv-${token}'", "vault: 'kv--${token}'", "names"),
        ("long-group", "main", "group: 'rg-${environmentName}'", "group: 'rg-${environmentName}-${environmentName}'", "compiles", ("pipeline",)),
        ("long-short-name", "alerts", "groupShortName: 'background'", "groupShortName: 'background-responses'", "compiles"),
        ("capital-queue", "storage", "  'runs'\n", "  'Runs'\n", "names"),
        ("table-with-hyphen", "storage", "  'responses'\n", "  're-sponses'\n", "compiles"),
        ("underscore", "main", "'ai-${token}'", "'ai_${token}'", "names"),
        ("other-policy", "app", "  name: 'ftp'", "  name: 'ssh'", "compiles"),
        # one resource twice
        ("queue-twice", "storage", "union(queueNames, ", "concat(queueNames, ", "ids", ("addresses",)),
        ("zone-twice", "network", "zones: [{ service: 'queue', name: 'privatelink.queue.${storageSuffix}' }]", "zones: [{ service: 'blob', name: 'privatelink.blob.${storageSuffix}' }]", "ids"),
        ("alerts-of-one-name", "alerts", "name: '${name}-${rule.id}'", "name: '${name}-rule'", "compiles"),
        ("endpoints-of-one-name", "endpoints", "name: '${name}-${endpoint.name}'", "name: '${name}-endpoint'", "compiles"),
        ("roles-of-one-name", "access", "guid(storage.id, identity.id, roles.storageTableDataContributor)", "guid(storage.id, identity.id, roles.storageQueueDataContributor)", "ids"),
        ("one-link", "endpoints", "parent: zones[index]", "parent: zones[0]", "compiles"),
        # places
        ("next-endpoint", "endpoints", "parent: privateEndpoints[index]", "parent: privateEndpoints[(index + 1) % length(endpoints)]", "network"),
        ("index-too-high", "endpoints", "parent: privateEndpoints[index]", "parent: privateEndpoints[index + 1]", "compiles"),
        ("no-scope", "vault", "  scope: vault\n", "", "diagnostics"),
        ("people-in-a-region", "alerts", "  location: 'global'\n", "  location: location\n", "locations"),
        ("cycle", "main", "  scope: group\n  name: 'identity'\n", "  scope: group\n  name: 'identity'\n  dependsOn: [app]\n", "compiles"),
        ("module-of-one-name", "main", "  name: 'network'\n", "  name: 'access'\n", "ids"),
        # an upstream elsewhere
        ("elsewhere-role", "upstreamAccess", "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd", "b86a8fe4-44ce-4948-aee5-eccb2c155cd7", "roles", ("upstream",)),
        ("elsewhere-wide", "upstreamAccess", "  scope: account\n", "  scope: resourceGroup()\n", "roles", ("upstream",)),
        ("elsewhere-other", "access", "appPrincipalId: identity.properties.principalId\n    accountName", "appPrincipalId: deployerPrincipalId\n    accountName", "roles", ("upstream",)),
        ("elsewhere-lost", "access", "= if (!empty(upstreamResourceId)) {", "= if (empty(upstreamResourceId)) {", "roles", ("upstream",)),
        # waiting
        ("roles-too-early", "main", "  dependsOn: [identity, storage, vault, monitoring, model]\n", "  dependsOn: [identity, storage, vault, monitoring]\n", "order"),
        ("endpoints-too-early", "main", "  dependsOn: [storage, vault, model]\n", "", "order"),
        ("alert-too-early", "main", "  dependsOn: [model]\n", "", "order"),
        ("names-too-early", "endpoints", "dependsOn: [zones, links]", "dependsOn: [zones]", "order"),
        # what is there
        ("people-for-nobody", "alerts", "= if (!empty(email)) {", "= if (empty(email)) {", "present"),
        ("gate-stays", "app", "config@2024-11-01' = {", "config@2024-11-01' = if (!empty(entraClientId)) {", "present", ("default",)),
        ("gate-for-all", "app", "properties: empty(entraClientId)", "properties: !empty(entraClientId)", "hardening", ("default",)),
        ("no-gate", "app", "properties: empty(entraClientId)", "properties: !empty(entraClientId)", "hardening"),
        ("tokens-of-all", "app", "${tenant().tenantId}/v2.0", "common/v2.0", "hardening"),
        ("any-origin", "app", "http20Enabled: true", "http20Enabled: true\n      cors: {\n        allowedOrigins: ['*']\n      }", "hardening"),
        ("never-throttled", "alerts", "timeAggregation: 'Total'\n          operator: 'GreaterThan'", "timeAggregation: 'Total'\n          operator: 'LessThan'", "rules"),
        ("other-sum", "alerts", "timeAggregation: 'Total'\n          operator", "timeAggregation: 'Average'\n          operator", "rules"),
        ("network-by-zones", "main", "= if (vnetEnabled) {", "= if (zoneRedundant) {", "present", ("network",)),
        ("model-for-all", "main", "= if (makesModel) {", "= if (!vnetEnabled) {", "compiles", ("upstream",)),
        # values of open enumerations
        ("no-such-kind", "model", "kind: 'AIServices'", "kind: 'AIService'", "enums"),
        ("no-such-price", "monitoring", "'PerGB2018'", "'PerGB2019'", "enums"),
        ("no-such-mode", "vault", "'recover' : 'default'", "'recovery' : 'default'", "compiles", ("pipeline",)),
        ("no-such-access", "storage", "? 'Disabled' : 'Enabled'", "? 'Off' : 'On'", "enums"),
        ("no-such-operator", "alerts", "operator: 'LessThan'", "operator: 'Fewer'", "enums"),
        ("no-such-runtime", "app", "name: 'python'", "name: 'python3'", "enums"),
        # settings
        ("number-as-setting", "app", "value: string(service.retentionS)", "value: service.retentionS", "compiles"),
        ("hidden-number", "app", "value: string(service.retentionS)", "value: any(service.retentionS)", "settings"),
        ("setting-twice", "app", "name: 'PRICES'", "name: 'prices'\n    value: ''\n  }\n  {\n    name: 'PRICES'", "settings"),
        ("no-module", "app", "value: service.agentsModule", "value: '${service.agentsModule}/x'", "loaded"),
        ("milliseconds", "app", "value: string(service.foregroundHoldS)", "value: string(service.foregroundHoldS * 1000)", "loaded"),
        ("key-without-switch", "app", "...(service.upstreamApiKeyInVault ? upstreamKeySettings : [])", "...upstreamKeySettings", "settings"),
        ("no-sampler", "app", "value: service.otelTracesSampler\n", "value: 'always_on'\n", "passed_on", ("keys",)),
        ("no-base-path", "model", "}openai/v1'", "}openai'", "passed_on"),
        ("empty-queue", "main", "values.parts(replyTo)", "split(replyTo, ',')", "compiles", ("addresses",)),
        ("pattern-as-queue", "storage", "filter(replyQueues, name => !contains(name, '*'))", "replyQueues", "storage"),
        # private and open
        ("operators-outside", "vault", "isPrivate && empty(operatorIpRanges) ? 'Disabled'", "isPrivate ? 'Disabled'", "firewall"),
        ("all-addresses", "vault", "value: address", "value: '${address}/0'", "firewall"),
        ("empty-address", "checks", "    : values.parts(list)", "    : split(list, ',')", "firewall", ("addresses",)),
        ("open-model", "model", "isPrivate ? 'Disabled' : 'Enabled'", "isPrivate ? 'Enabled' : 'Disabled'", "hardening"),
        ("fixed-subnet", "checks", "cidrSubnet(vnetPrefix, 26, 0)", "cidrSubnet('10.84.0.0/24', 26, 0)", "network", ("addresses",)),
        ("overlapping", "checks", "cidrSubnet(vnetPrefix, 27, 2)", "cidrSubnet(vnetPrefix, 27, 1)", "network"),
        ("small-subnet", "checks", "cidrSubnet(vnetPrefix, 26, 0)", "cidrSubnet(vnetPrefix, 28, 0)", "network"),
        ("parts-not-taken", "checks", "? saidParts(vnetPrefix, app, endpoints)", "? { app: cidrSubnet(vnetPrefix, 26, 1), endpoints: app }", "network", ("named",)),
        ("no-way-out", "network", "defaultOutboundAccess: true", "defaultOutboundAccess: false", "network"),
        ("other-group-of-storage", "network", "group: 'blob'", "group: 'dfs'", "network"),
        ("crossed-zones", "network", "name: 'privatelink.table.${storageSuffix}'", "name: 'privatelink.file.${storageSuffix}'", "network"),
        ("endpoints-beside-the-app", "network", "/subnets/endpoints'", "/subnets/app'", "network"),
        ("app-among-endpoints", "network", "/subnets/app'", "/subnets/endpoints'", "network"),
        ("registers-machines", "endpoints", "registrationEnabled: false", "registrationEnabled: true", "network"),
        # queries
        ("no-such-step", "alerts", "| summarize Runs", "| summarise Runs", "alerts"),
        ("open-bracket", "alerts", "toint(ResultCode) >=", "toint(ResultCode >=", "alerts"),
        ("no-such-table", "alerts", "'AppRequests | where Name ==", "'AppRequest | where Name ==", "alerts"),
        ("open-quote", "alerts", "has \"${signals.givenUp}\"", "has \"${signals.givenUp}", "alerts"),
        ("no-column", "alerts", "column: 'Runs'", "column: ''", "rules"),
        ("rows-not-items", "alerts", "column: 'ItemCount'", "column: 'Runs'", "rules"),
        ("values-not-rows", "alerts", "ItemCount = int(1)", "ItemCount", "alerts"),
        # chosen values
        ("always-recovers", "model", "recover ? true : null", "recover ? true : true", "hardening"),
        ("one-always-ready", "app", "instanceCount: group.value", "instanceCount: 1", "hardening"),
        ("none-always-ready", "app", "group.value > 0", "group.value >= 0", "hardening", ("default",)),
        ("no-secure-url", "app", "'https://${site.properties.defaultHostName}'", "'http://${site.properties.defaultHostName}'", "outputs"),
        ("other-env-tag", "main", "'azd-env-name': environmentName", "'azd-env-name': 'prod'", "tags"),
        ("preview-blind", "main", "    storageName: names.storage\n    vaultId", "    storageName: storage.outputs.name\n    vaultId", "compiles"),
        ("name-of-an-output", "access", "guid(storage.id, identity.id, roles.storageTableDataContributor)", "guid(storage.id, identity.properties.principalId, roles.storageTableDataContributor)", "compiles"),
        ("preview-blind-by-a-list", "main", "replyQueues: values.parts(replyTo)", "replyQueues: [...values.parts(replyTo), identity.outputs.clientId]", "preview"),
        ("no-such-variant", "model", "@maxValue(5000)", "@maxValue(55)", "compiles"),
    ]  # fmt: skip
    return [Mutant(name, path_of(module), *rest) for name, module, *rest in rows]  # type: ignore[arg-type]


EVALUATED_FAULTS = _mutants()
