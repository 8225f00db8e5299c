// A landing zone that has a network, zones, a workspace and a vault.
using '../../../infra/main.bicep'

param environmentName = 'zone'
param location = 'swedencentral'
param principalId = '00000000-0000-0000-0000-000000000009'
param vnetEnabled = true
param appSubnetId = '/subscriptions/00000000-0000-0000-0000-000000000003/resourceGroups/rg-spoke/providers/Microsoft.Network/virtualNetworks/vnet-spoke/subnets/snet-app'
param endpointSubnetId = '/subscriptions/00000000-0000-0000-0000-000000000003/resourceGroups/rg-spoke/providers/Microsoft.Network/virtualNetworks/vnet-spoke/subnets/snet-endpoints'
param privateDnsZones = '/subscriptions/00000000-0000-0000-0000-000000000004/resourceGroups/rg-dns, /subscriptions/00000000-0000-0000-0000-000000000004/resourceGroups/rg-dns-ai/providers/Microsoft.Network/privateDnsZones/privatelink.openai.azure.com'
param privateInbound = true
param workspaceId = '/subscriptions/00000000-0000-0000-0000-000000000004/resourceGroups/rg-logs/providers/Microsoft.OperationalInsights/workspaces/log-central'
param keyVaultId = '/subscriptions/00000000-0000-0000-0000-000000000003/resourceGroups/rg-secrets/providers/Microsoft.KeyVault/vaults/kv-secrets'
param diagnostics = 'all'
param locksEnabled = true
