"""Faults to plant in our own files, each of which a check must find. Those that a first set of checks missed are apart."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: `new` replaces the first occurrence of `old` in a file.

    The check `finder` must report it, when it looks at these variants.
    """

    name: str
    path: str
    old: str
    new: str
    finder: str
    variants: tuple[str, ...] = ("everything",)


def path_of(module: str) -> str:
    """Return the path of a Bicep file by its short name, such as `storage`."""
    return "infra/main.bicep" if module == "main" else f"infra/modules/{module}.bicep"


def _mutants() -> list[Mutant]:
    rows = [
        # grammar
        ("brace", "storage", "accessTier: 'Hot'", "accessTier: { 'Hot'", "compiles"),
        ("comma", "storage", "accessTier: 'Hot'", "accessTier: 'Hot',", "compiles"),
        ("spread", "app", "...hostSettings", "...hostSettings[0]", "compiles"),
        ("list-keys", "storage", "output id string = account.id", "output id string = account.listKeys().keys[0].value", "compiles"),
        ("twice", "identity", "output id string = identity.id", "var name = 'x'\noutput id string = identity.id", "compiles"),
        # types
        ("unknown-property", "storage", "allowSharedKeyAccess: false", "allowSharedKeys: false", "compiles"),
        ("wrong-case", "monitoring", "DisableLocalAuth: true", "disableLocalAuth: true\n    X: 1", "compiles"),
        ("read-only", "storage", "accessTier: 'Hot'", "accessTier: 'Hot'\n    creationTime: 'now'", "compiles"),
        ("missing", "storage", "  kind: 'StorageV2'\n", "", "compiles"),
        ("wrong-kind", "storage", "allowBlobPublicAccess: false", "allowBlobPublicAccess: 'false'", "compiles"),
        ("wrong-value", "app", "type: 'UserAssignedIdentity'", "type: 'UserAssigned'", "enums"),
        ("wrong-value-back", "app", "    type: 'UserAssigned'\n", "    type: 'UserAssignedIdentity'\n", "compiles"),
        ("wrong-version", "vault", "vaults@2024-11-01", "vaults@2031-01-01", "compiles"),
        ("unknown-type", "vault", "Microsoft.KeyVault/vaults@", "Microsoft.KeyVault/vault@", "compiles"),
        ("no-parent", "storage", "  parent: blobs\n", "", "compiles"),
        ("other-parent", "storage", "  parent: blobs\n", "  parent: queueService\n", "compiles"),
        ("wrong-scope", "main", "// After its roles", "resource x 'Microsoft.KeyVault/vaults@2024-11-01' = {\n  name: 'x'\n}\n// After", "compiles"),
        ("list-for-one", "endpoints", "groupIds: [endpoint.group]", "groupIds: 'blob'", "compiles"),
        ("by-hand", "alerts", "autoMitigate: true\n      skip", "autoMitigation: true\n      skip", "compiles"),
        ("parameter-kind", "app", "maximumInstanceCount: maximumInstanceCount", "maximumInstanceCount: name", "compiles"),
        # names
        ("undeclared", "vault", "workspaceId: workspaceId", "workspaceId: workspace", "compiles"),
        ("unused", "identity", "resource identity", "var spare = 1\n\nresource identity", "compiles"),
        ("no-such-output", "main", "identity.outputs.clientId", "identity.outputs.client", "compiles"),
        ("no-such-parameter", "main", "    sku: storageSku\n", "    skuName: storageSku\n", "compiles"),
        ("no-such-member", "app", "site.properties.defaultHostName", "site.properties.hostName", "compiles"),
        ("no-such-function", "main", "toLower(", "lower(", "compiles"),
        ("may-be-absent", "main", "network!.outputs", "network.outputs", "compiles"),
        ("no-description", "vault", "@description('Region.')\n", "", "compiles"),
        ("no-range", "app", "@minValue(1)\n@maxValue(1000)\nparam httpConcurrency", "param httpConcurrency", "limits"),
        ("out-of-range", "main", "param httpConcurrency int = 200", "param httpConcurrency int = 5000", "compiles"),
        ("wrong-argument", "main", "zoneRedundant: zoneRedundant", "zoneRedundant: storageSku", "compiles"),
        ("lost-member", "main", "      agentsModule: agentsModule\n", "", "compiles"),
        # roles
        ("other-role", "access", "'974c5e8b-45b9-4653-ba55-5f855dd0fb88'", "'b24988ac-6180-42a0-ab88-20f7382dd24c'", "roles"),
        ("swapped-roles", "vaultAccess", "roles.keyVaultSecretsUser", "roles.keyVaultSecretsOfficer", "roles"),
        ("wider-scope", "access", "  scope: storage\n  name: guid(storage.id, identity.id, roles.storageTable", "  scope: resourceGroup()\n  name: guid(storage.id, identity.id, roles.storageTable", "roles"),
        ("name-collides", "vaultAccess", "guid(vault.id, identityId, roles.", "guid(identityId, roles.", "roles"),
        ("swapped-principals", "access", "principalId: identity.properties.principalId", "principalId: deployerPrincipalId", "roles"),
        ("no-waiting", "main", "vaultUri: access.outputs.vaultUri", "vaultUri: vault!.outputs.uri", "order"),
        ("always-deployer", "vaultAccess", " = if (!empty(deployerPrincipalId)) {", " = {", "roles", ("nobody",)),
        ("role-elsewhere", "vault", "resource audit", "resource x 'Microsoft.Authorization/roleAssignments@2022-04-01' = {\n  name: guid(vault.id)\n  properties: {\n    principalId: tenant().tenantId\n    roleDefinitionId: vault.id\n  }\n}\n\nresource audit", "roles"),
        # hardening
        ("keys-on", "storage", "allowSharedKeyAccess: false", "allowSharedKeyAccess: true", "hardening"),
        ("keys-by-omission", "storage", "    allowSharedKeyAccess: false\n", "", "hardening"),
        ("public-blobs", "storage", "allowBlobPublicAccess: false", "allowBlobPublicAccess: true", "hardening"),
        ("old-tls", "storage", "'TLS1_2'", "'TLS1_0'", "hardening"),
        ("stays-open", "vault", "isPrivate ? 'Deny' : 'Allow'", "isPrivate ? 'Allow' : 'Allow'", "hardening"),
        ("bypass", "storage", "bypass: 'None'", "bypass: 'AzureServices'", "hardening"),
        ("local-auth", "monitoring", "DisableLocalAuth: true", "DisableLocalAuth: false", "hardening"),
        ("model-keys", "model", "disableLocalAuth: true", "disableLocalAuth: false", "hardening"),
        ("passwords", "app", "  name: 'scm'\n  properties: {\n    allow: false", "  name: 'scm'\n  properties: {\n    allow: true", "hardening"),
        ("plain-http", "app", "httpsOnly: true", "httpsOnly: false", "hardening"),
        ("system-identity", "app", "    keyVaultReferenceIdentity: identityId\n", "", "hardening"),
        ("one-stream", "app", "        triggers: {\n          http: {\n            perInstanceConcurrency: httpConcurrency\n          }\n        }\n", "", "compiles"),
        ("ftps-state", "app", "http20Enabled: true", "http20Enabled: true\n      ftpsState: 'Disabled'", "hardening"),
        ("python", "app", "version: '3.12'", "version: '3.13'", "hardening"),
        ("open-gate", "app", "'Return401'", "'AllowAnonymous'", "hardening"),
        ("vault-policies", "vault", "enableRbacAuthorization: true", "enableRbacAuthorization: false", "hardening"),
        ("purge-false", "vault", "purgeProtection ? true : null", "purgeProtection", "hardening", ("pipeline",)),
        ("no-protection", "main", "param vaultPurgeProtection bool = true", "param vaultPurgeProtection bool = false", "defaults"),
        ("huge-cap", "main", "param maximumInstanceCount int = 40", "param maximumInstanceCount int = 1000", "defaults"),
        ("no-tags", "vault", "  tags: tags\n", "", "compiles"),
        ("other-service", "app", "'azd-service-name': 'app'", "'azd-service-name': 'api'", "tags"),
        ("other-delegation", "network", "Microsoft.App/environments", "Microsoft.Web/serverFarms", "network"),
        ("no-table-endpoint", "network", "    group: 'table'", "    group: 'queue'", "network"),
        ("open-storage", "main", "    sku: storageSku\n    isPrivate: vnetEnabled", "    sku: storageSku\n    isPrivate: false", "hardening"),
        ("weaker-alert", "alerts", "threshold: 0", "threshold: 1000", "rules"),
        ("no-list", "alerts", "join(signals.faults, '\", \"')", "join(signals.faults, ' ')", "alerts"),
        ("endpoint-elsewhere", "endpoints", "resourceId(endpoint.kind, endpoint.resource)", "resourceId(endpoint.kind, endpoints[0].resource)", "network"),
        ("no-audit", "vault", "        enabled: true\n", "        enabled: false\n", "diagnostics"),
        ("other-choices", "app", "@allowed([2048, 4096])", "@allowed([2048, 4096, 8192])", "limits"),
        # settings
        ("setting-lost", "app", "  {\n    name: 'REPLY_QUEUES'\n    value: service.replyQueues\n  }\n", "", "settings"),
        ("setting-too-many", "app", "name: 'PYTHON_ENABLE_INIT_INDEXING'", "name: 'PYTHON_ENABLE_INIT'", "settings"),
        ("setting-refused", "app", "name: 'PYTHON_ENABLE_INIT_INDEXING'", "name: 'FUNCTIONS_WORKER_RUNTIME'", "settings"),
        ("plain-storage", "app", "name: 'AzureWebJobsStorage__credential'", "name: 'AzureWebJobsStorage'", "settings"),
        ("resource-id", "app", "name: 'AzureWebJobsStorage__clientId'\n    value: identityClientId", "name: 'AzureWebJobsStorage__clientId'\n    value: identityId", "settings"),
        ("other-secret", "app", "secrets/upstream-webhook-secret", "secrets/upstream-api-key", "settings"),
        ("loopback", "app", "name: 'REQUESTS_CALLER'", "name: 'CALLBACK_ALLOW_LOOPBACK'", "settings"),
        ("crossed-settings", "app", "value: string(service.retentionS)", "value: string(service.streamMaxS)", "passed_on"),
        ("crossed-members", "main", "      retentionS: retentionS\n      streamMaxS: streamMaxS", "      retentionS: streamMaxS\n      streamMaxS: retentionS", "passed_on"),
        ("no-poison-queue", "storage", "  'runs-poison'\n", "", "storage"),
        ("no-queue", "storage", "  'requests'\n", "", "storage"),
        ("other-table", "storage", "  'responses'\n", "  'response'\n", "storage"),
        # code and platform
        ("range-too-wide", "main", "@maxValue(604800)", "@maxValue(604801)", "ranges"),
        ("range-too-narrow", "main", "@maxValue(95)", "@maxValue(90)", "ranges"),
        ("other-default", "main", "param streamMaxS int = 21000", "param streamMaxS int = 1100", "ranges"),
        ("other-choice", "main", "@allowed(['background', 'foreground'])", "@allowed(['background', 'sync'])", "ranges"),
        ("secret-output", "main", "output APP_URL string = app.outputs.url", "output APP_URL string = app.outputs.url\noutput INSIGHTS string = monitoring.outputs.connectionString", "outputs"),
        ("secret-parameter", "main", "var tags = {\n", "@description('A key.')\nparam apiKey string = ''\n\nvar tags = {\n  key: apiKey\n", "outputs"),
        ("model-beside", "main", "var makesModel = empty(upstreamBaseUrl)", "var makesModel = !empty(upstreamBaseUrl)", "present"),
        ("no-region", "main", "type: 'location'", "type: 'text'", "regions"),
        ("rule-in-loop", "vault", "        value: address", "        values: address", "compiles"),
        ("later", "alerts", "where Max > 120", "where Max > 12000", "alerts"),
        ("no-one-notified", "alerts", "actionGroupId: people.id", "actionGroupId: workspaceId", "rules"),
        ("other-group", "main", "http: alwaysReadyHttp", "durable: alwaysReadyHttp", "hardening"),
        ("no-zone", "endpoints", "? resourceId('Microsoft.Network/privateDnsZones', zone.name)", "? zone.name", "network"),
        ("unknown-event", "alerts", "'alarm.given_up'", "'alarm.gave_up'", "alerts"),
        ("unknown-metric", "alerts", "background_responses.alarms.overdue", "background_responses.overdue", "alerts"),
        ("unknown-state", "alerts", "ended: ['failed'", "ended: ['lost'", "alerts"),
        ("counted-twice", "alerts", "role: 'background-responses'", "role: 'app'", "alerts"),
        ("plain-lines", "alerts", "parse_json(Message)", "Message", "alerts"),
        ("platforms-level", "alerts", "level = tostring(line.level)", "level = SeverityLevel", "alerts"),
        ("homepage", "app", "name: 'AzureWebJobsDisableHomepage'\n    value: 'true'", "name: 'AzureWebJobsDisableHomepage'\n    value: 'false'", "settings"),
        ("clients-that-left", "alerts", "AppRoleName == ", "AppRoleName != ", "alerts"),
        ("unknown-library", "alerts", "library: 'library'", "library: 'libraries'", "alerts"),
        ("no-telemetry", "app", "value: 'azure'", "value: 'otlp'", "settings"),
        ("unknown-function", "alerts", "timer: 'heartbeat'", "timer: 'heart'", "alerts"),
        ("silent-alerts", "alerts", "scopes: [workspaceId]", "scopes: [workspaceId, resourceGroup().id]", "rules"),
        ("never-fires", "alerts", "threshold: 1\n", "threshold: 0\n", "rules"),
        ("alert-lost", "alerts", "id: 'poison'", "id: 'poisoned'", "alerts"),
    ]  # fmt: skip
    files = [
        ("parameter-lost", "infra/main.bicepparam", "param storageSku = readEnvironmentVariable('STORAGE_SKU', 'Standard_LRS')\n", "", "parameters"),
        ("other-azd-default", "infra/main.bicepparam", "'HTTP_CONCURRENCY', '200'", "'HTTP_CONCURRENCY', '1'", "parameters"),
        ("other-variable", "infra/main.bicepparam", "'RETENTION_S'", "'RETAIN_S'", "parameters"),
        ("azd-host", "azure.yaml", "host: function", "host: appservice", "azd"),
        ("azd-service", "azure.yaml", "  app:\n", "  api:\n", "azd"),
        ("azd-version", "azure.yaml", ">= 1.25.3", ">= 1.11.0", "azd"),
        ("azd-build", "azure.yaml", "remoteBuild: false", "remoteBuild: true", "azd"),
        ("azd-sources", "azure.yaml", "dist: .package", "dist: .", "azd"),
        ("azd-two-terminals", "azure.yaml", "infra.hooks.prepackage\n", "infra.hooks.prepackage\n          interactive: true\n", "azd"),
        ("azd-unpacked", "azure.yaml", "      prepackage:", "      prebuild:", "azd"),
        ("azd-unseen", "azure.yaml", "interactive: true", "interactive: false", "azd"),
        ("azd-secret", "azure.yaml", "UPSTREAM_API_KEY: UPSTREAM_API_KEY", "UPSTREAM_API_KEY: UPSTREAM_KEY", "azd"),
        ("azd-hook-lost", "azure.yaml", "  preprovision:", "  predown:", "azd"),
        ("azd-hook", "azure.yaml", "python3 -m infra.hooks.first_caller", "python3 -m hooks.first_caller", "azd"),
        ("batch", "host.json", '"newBatchThreshold": 16', '"newBatchThreshold": 8', "host"),
        ("encoding", "host.json", '"messageEncoding": "base64"', '"messageEncoding": "none"', "host"),
        ("timeout", "host.json", '"06:00:00"', '"00:30:00"', "host"),
        ("prefix", "host.json", '"routePrefix": ""', '"routePrefix": "api"', "host"),
        ("console", "host.json", '"Host.Function.Console": "Information"', '"Host.Function.Console": "Warning"', "host"),
        ("sampled", "host.json", '"Request;Trace;Exception"', '"Request;Exception"', "host"),
        ("example-lost", "local.settings.json.example", '    "REPLY_QUEUES": "",\n', "", "local_example"),
        ("example-cloud", "local.settings.json.example", '"REQUESTS_CALLER": ""', '"AZURE_CLIENT_ID": ""', "local_example"),
    ]  # fmt: skip
    ours = [Mutant(name, path_of(module), *rest) for name, module, *rest in rows]  # type: ignore[arg-type]
    return ours + [Mutant(*row) for row in files]


MUTANTS = _mutants()
