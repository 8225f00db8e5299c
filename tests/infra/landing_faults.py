"""Faults to plant in what a landing zone chooses: names, tags, and what is there already."""

from tests.infra.fault import Mutant, path_of


def _mutants() -> list[Mutant]:
    rows = [
        # names and tags
        ("names-not-taken", "main", "{ ...usualNames, ...named }", "{ ...named, ...usualNames }", "overridden", ("named",)),
        ("name-of-one-kind-lost", "main", "    name: names.app\n", "    name: usualNames.app\n", "overridden", ("named",)),
        ("tags-not-taken", "main", "  ...values.tagsOf(resourceTags)\n", "", "compiles"),
        ("tags-of-no-zone", "endpoints", "values.tagsOfZone(tags) : {}", "tags : {}", "tags", ("network",)),
        ("tags-cut", "values", "trim(join(skip(split(part, '='), 1), '='))", "trim(split(part, '=')[1])", "tags", ("named",)),
        ("untagged-model", "model", "  name: modelName\n  tags: tags\n", "  name: modelName\n", "tags"),
        # what is there already
        ("app-in-a-network-of-its-own", "main", "    appSubnetId: leavesBy\n", "    appSubnetId: ''\n", "network", ("landing",)),
        ("network-beside-one", "network", "= if (makesNetwork) {", "= if (!empty(name)) {", "network", ("policy",)),
        ("crossed-subnets", "network", "output appSubnetId string = appSubnet", "output appSubnetId string = endpointSubnet", "network", ("landing",)),
        ("endpoints-in-the-apps-subnet", "network", "subnetId: endpointSubnet", "subnetId: appSubnet", "network", ("landing",)),
        ("zones-beside-those-that-are-there", "endpoints", "var makesZones = empty(privateDnsZones)", "var makesZones = true", "network", ("landing",)),
        ("zones-for-a-policy", "endpoints", "privateDnsZones == 'policy' ? [] : endpoints", "endpoints", "compiles", ("policy",)),
        ("zone-of-another-service", "endpoints", "zone.service, zone.name", "'openai', zone.name", "network", ("landing",)),
        ("zones-of-the-group-only", "values", "    ? zonesFor(zones, service)[0]", "    ? replace(zonesFor(zones, service)[0], 'rg-dns-ai', 'rg-dns')", "network", ("landing",)),
        ("zone-in-another-network", "network", "take(split(appSubnet, '/'), 9)", "take(split(endpointSubnet, '/'), 8)", "network", ("network",)),
        ("workspace-beside-one", "logs", "module own 'monitoring.bicep' = if (empty(existingWorkspaceId)) {", "module own 'monitoring.bicep' = if (!empty(workspaceName)) {", "present", ("landing",)),
        ("logs-elsewhere", "logs", "WorkspaceResourceId: existingWorkspaceId", "WorkspaceResourceId: resourceId('Microsoft.OperationalInsights/workspaces', workspaceName)", "hardening", ("landing",)),
        ("alerts-elsewhere", "logs", "own!.outputs.workspaceId : existingWorkspaceId", "own!.outputs.workspaceId : insights.id", "rules", ("landing",)),
        ("vault-beside-one", "main", "module vault 'modules/vault.bicep' = if (empty(secretsIn)) {", "module vault 'modules/vault.bicep' = if (empty(secretsIn) || vnetEnabled) {", "present", ("landing",)),
        ("secrets-in-another-vault", "main", "    vaultId: vaultId\n", "    vaultId: ownVault\n", "roles", ("landing",)),
        ("vault-of-another-group", "access", "  name: last(split(vaultId, '/'))\n", "  name: 'kv-other'\n", "outputs", ("landing",)),
        ("endpoint-for-a-vault-elsewhere", "network", "...(empty(vaultName) ? [] : vaultEndpoints)", "...vaultEndpoints", "network", ("landing",)),
        ("outputs-another-vault", "main", "output AZURE_KEY_VAULT_RESOURCE_ID string = vaultId", "output AZURE_KEY_VAULT_RESOURCE_ID string = ownVault", "outputs", ("landing",)),
        # private inbound
        ("inbound-stays-open", "app", "isPrivate ? 'Disabled' : 'Enabled'", "isPrivate ? 'Enabled' : 'Enabled'", "hardening", ("landing",)),
        ("inbound-closed-for-all", "main", "isPrivate: isHidden", "isPrivate: vnetEnabled", "hardening"),
        ("no-way-in", "main", "= if (isHidden) {", "= if (isHidden && makesModel && empty(zones)) {", "network", ("landing",)),
        ("way-in-for-all", "main", "= if (isHidden) {", "= if (vnetEnabled) {", "network", ("network",)),
        ("way-into-another-group", "main", "group: 'sites'", "group: 'site'", "network", ("hidden",)),
        ("way-in-too-early", "main", "  dependsOn: [app]\n", "", "order"),
        # diagnostics
        ("no-tables", "diagnostics", "  scope: storage::tables\n", "  scope: storage::queues\n", "compiles"),
        ("no-metrics-of-the-app", "diagnostics", "  scope: app\n  name: 'platform'\n  properties: {\n    workspaceId: workspaceId\n    logs: logs\n    metrics: metrics\n", "  scope: app\n  name: 'platform'\n  properties: {\n    workspaceId: workspaceId\n    logs: logs\n", "diagnostics", ("named",)),
        ("every-request-as-audit", "diagnostics", "level == 'all' ? all : []", "level == 'all' ? all : audit", "diagnostics", ("hidden",)),
        ("all-is-not-all", "diagnostics", "categoryGroup: 'allLogs'", "categoryGroup: 'audit'", "diagnostics", ("landing",)),
        ("vault-not-all", "main", "logsAll: diagnostics == 'all'", "logsAll: false", "diagnostics", ("named",)),
        ("logs-of-a-network-elsewhere", "main", "networkName: vnetEnabled && empty(leavesBy) ? names.network : ''", "networkName: names.network", "diagnostics", ("landing",)),
        ("logs-of-a-workspace-elsewhere", "main", "ownWorkspaceName: empty(logsTo) ? names.workspace : ''", "ownWorkspaceName: names.workspace", "diagnostics", ("landing",)),
        ("no-audit-level", "main", "if (diagnostics != 'vault') {", "if (diagnostics == 'all') {", "diagnostics", ("hidden",)),
        ("diagnostics-by-default", "main", "param diagnostics string = 'vault'", "param diagnostics string = 'all'", "defaults"),
        ("logs-too-early", "main", "dependsOn: [app, model, network, storage]", "dependsOn: [app, model, network]", "order"),
        # locks
        ("locked-elsewhere", "main", "    storageName: names.storage\n    vaultName: empty(secretsIn) ? names.vault : ''\n    workspaceName", "    storageName: 'stother'\n    vaultName: empty(secretsIn) ? names.vault : ''\n    workspaceName", "locks", ("hidden",)),
        ("locked-for-writes", "locks", "level: 'CanNotDelete'", "level: 'ReadOnly'", "locks", ("hidden",)),
        ("locked-by-default", "main", "= if (locksEnabled) {", "= if (!locksEnabled) {", "locks", ("default",)),
        ("lock-of-a-vault-elsewhere", "locks", "= if (!empty(vaultName)) {", "= {", "locks", ("landing",)),
        ("locked-too-early", "main", "  dependsOn: [app, vault, monitoring]\n", "", "order"),
        # a customer's key
        ("tables-without-the-key", "storage", "table: { enabled: true, keyType: 'Account' }", "table: { enabled: true, keyType: 'Service' }", "encryption", ("hidden",)),
        ("microsofts-key", "storage", "keySource: 'Microsoft.Keyvault'", "keySource: 'Microsoft.Storage'", "encryption", ("hidden",)),
        ("one-version-of-the-key", "storage", "keyname: last(split(customerKeyId, '/'))", "keyname: last(split(customerKeyId, '/'))\n            keyversion: '1'", "encryption", ("hidden",)),
        ("key-of-another-name", "storage", "keyname: last(split(customerKeyId, '/'))", "keyname: name", "encryption", ("hidden",)),
        ("key-for-the-app", "main", "keyIdentityName: names.keyIdentity", "keyIdentityName: names.identity", "ids", ("hidden",)),
        ("whole-vault-of-keys", "keyAccess", "  scope: vault::key\n", "  scope: vault\n", "roles", ("hidden",)),
        ("key-officer", "keyAccess", "e147488a-f6f5-4113-8e2d-b22465e65bf6", "14b46e9e-c2b7-41b4-b07b-48a6ebf60603", "roles", ("hidden",)),
        ("key-of-another-vault", "customerKey", "vaultName: split(keyId, '/')[8]", "vaultName: 'kv-other'", "encryption", ("hidden",)),
        # regions
        ("regions-that-a-hook-cannot-read", "main", "param location string\n", "@metadata({ kind: 'region' })\nparam location string\n", "regions"),
        ("canary-region", "main", "  'eastus2'\n", "  'eastus2'\n  'eastus2euap'\n", "regions"),
        ("region-lost", "main", "  'westeurope'\n", "", "compiles", ("keys",)),
    ]  # fmt: skip
    ours = [Mutant(name, path_of(module), *rest) for name, module, *rest in rows]  # type: ignore[arg-type]
    return [*ours, Mutant("variable-lost-in-a-pipeline", "azure.yaml", "    - VNET_ENABLED\n", "", "azd")]


LANDING_FAULTS = _mutants()
