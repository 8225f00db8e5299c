"""Faults to plant in what a landing zone chooses: names, tags, and what is there already."""

from tests.infra.mutants import Mutant, path_of


def _mutants() -> list[Mutant]:
    rows = [
        # names and tags
        ("names-not-taken", "main", "{ ...usualNames, ...named }", "{ ...named, ...usualNames }", "overridden", ("named",)),
        ("name-of-one-kind-lost", "main", "    name: names.app\n", "    name: usualNames.app\n", "overridden", ("named",)),
        ("tags-not-taken", "main", "  ...values.tagsOf(resourceTags)\n", "", "compiles"),
        ("tags-cut", "values", "trim(join(skip(split(part, '='), 1), '='))", "trim(split(part, '=')[1])", "tags", ("named",)),
        ("untagged-model", "model", "  name: modelName\n  tags: tags\n", "  name: modelName\n", "tags"),
        # what is there already
        ("app-in-a-network-of-its-own", "main", "    appSubnetId: leavesBy\n", "    appSubnetId: ''\n", "compiles"),
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
        ("secrets-in-another-vault", "main", "    vaultId: join(vaultParts, '/')\n", "    vaultId: resourceId(subscription().subscriptionId, names.group, 'Microsoft.KeyVault/vaults', names.vault)\n", "roles", ("landing",)),
        ("vault-of-another-group", "access", "  name: last(split(vaultId, '/'))\n", "  name: 'kv-other'\n", "outputs", ("landing",)),
        ("endpoint-for-a-vault-elsewhere", "network", "...(empty(vaultName) ? [] : vaultEndpoints)", "...vaultEndpoints", "network", ("landing",)),
        ("outputs-another-vault", "main", "output AZURE_KEY_VAULT_RESOURCE_ID string = join(vaultParts, '/')", "output AZURE_KEY_VAULT_RESOURCE_ID string = names.vault", "outputs", ("landing",)),
        # private inbound
        ("inbound-stays-open", "app", "isPrivate ? 'Disabled' : 'Enabled'", "isPrivate ? 'Enabled' : 'Enabled'", "hardening", ("landing",)),
        ("inbound-closed-for-all", "main", "isPrivate: isHidden", "isPrivate: vnetEnabled", "hardening"),
        ("no-way-in", "main", "= if (isHidden) {", "= if (isHidden && makesModel && empty(zones)) {", "network", ("landing",)),
        ("way-in-for-all", "main", "= if (isHidden) {", "= if (vnetEnabled) {", "network", ("network",)),
        ("way-into-another-group", "main", "group: 'sites'", "group: 'site'", "network", ("hidden",)),
        ("way-in-too-early", "main", "  dependsOn: [app]\n", "", "order"),
    ]  # fmt: skip
    return [Mutant(name, path_of(module), *rest) for name, module, *rest in rows]  # type: ignore[arg-type]


LANDING_MUTANTS = _mutants()
