// Subnets that are there, in two networks, and a policy that writes names. A pipeline that writes no secrets.
using '../../../infra/main.bicep'

param environmentName = 'policy'
param location = 'westeurope'
param upstreamBaseUrl = 'https://res.openai.azure.com/openai/v1'
param vnetEnabled = true
param appSubnetId = '/subscriptions/00000000-0000-0000-0000-000000000003/resourceGroups/rg-spoke/providers/Microsoft.Network/virtualNetworks/vnet-apps/subnets/snet-app'
param endpointSubnetId = '/subscriptions/00000000-0000-0000-0000-000000000003/resourceGroups/rg-spoke/providers/Microsoft.Network/virtualNetworks/vnet-ends/subnets/snet-endpoints'
param privateDnsZones = 'policy'
