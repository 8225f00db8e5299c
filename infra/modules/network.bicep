// Optional: the app leaves by a network, and reaches storage, secrets and the model by private endpoints. The network is
// made here, or its subnets are there already.
import { endpointType } from 'endpoints.bicep'

@description('Name of the network.')
param name string

@description('The first part of the private endpoints\' names.')
@minLength(2)
@maxLength(58)
param endpointsName string

@description('Region.')
param location string

@description('Tags of every resource.')
param tags { *: string }

@description('Address space of the network (CIDR).')
param vnetPrefix string

@description('The part of it for the app.')
param appSubnetPrefix string

@description('The part of it for the private endpoints.')
param endpointSubnetPrefix string

@description('The app\'s subnet that is there; empty to make the network.')
param appSubnetId string

@description('The subnet for private endpoints that is there; empty to make the network.')
param endpointSubnetId string

@description('The zones that are there, as PRIVATE_DNS_ZONES says it; empty to make them.')
param privateDnsZones string

@description('The storage account.')
param storageName string

@description('The vault; empty if it is elsewhere, and reached as its owner says.')
param vaultName string

@description('The model account; empty if there is none.')
param modelAccountName string

var storageSuffix = environment().suffixes.storage
var makesNetwork = empty(appSubnetId)

var storageEndpoints endpointType[] = [
  {
    name: 'blob'
    kind: 'Microsoft.Storage/storageAccounts'
    resource: storageName
    group: 'blob'
    zones: [{ service: 'blob', name: 'privatelink.blob.${storageSuffix}' }]
  }
  {
    name: 'queue'
    kind: 'Microsoft.Storage/storageAccounts'
    resource: storageName
    group: 'queue'
    zones: [{ service: 'queue', name: 'privatelink.queue.${storageSuffix}' }]
  }
  {
    name: 'table'
    kind: 'Microsoft.Storage/storageAccounts'
    resource: storageName
    group: 'table'
    zones: [{ service: 'table', name: 'privatelink.table.${storageSuffix}' }]
  }
]

var vaultEndpoints endpointType[] = [
  {
    name: 'vault'
    kind: 'Microsoft.KeyVault/vaults'
    resource: vaultName
    group: 'vault'
    zones: [{ service: 'vaultcore', name: 'privatelink.vaultcore.azure.net' }]
  }
]

var modelEndpoints endpointType[] = [
  {
    name: 'model'
    kind: 'Microsoft.CognitiveServices/accounts'
    resource: modelAccountName
    group: 'account'
    zones: [
      { service: 'openai', name: 'privatelink.openai.azure.com' }
      { service: 'cognitiveservices', name: 'privatelink.cognitiveservices.azure.com' }
      { service: 'services.ai', name: 'privatelink.services.ai.azure.com' }
    ]
  }
]

resource network 'Microsoft.Network/virtualNetworks@2024-07-01' = if (makesNetwork) {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: [vnetPrefix]
    }
    subnets: [
      {
        name: 'app'
        properties: {
          addressPrefix: appSubnetPrefix
          defaultOutboundAccess: true // for fixed addresses attach a NAT gateway in its place
          delegations: [
            {
              name: 'flex'
              properties: {
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: endpointSubnetPrefix
          defaultOutboundAccess: false
          privateEndpointNetworkPolicies: 'Enabled'
        }
      }
    ]
  }
}

// A subnet's id begins with that of its network.
var appSubnet = makesNetwork ? '${network.id}/subnets/app' : appSubnetId
var endpointSubnet = makesNetwork ? '${network.id}/subnets/endpoints' : endpointSubnetId
var networkId = join(take(split(appSubnet, '/'), 9), '/')

module endpoints 'endpoints.bicep' = {
  name: 'endpoints'
  params: {
    name: endpointsName
    location: location
    tags: tags
    subnetId: endpointSubnet
    networkId: networkId
    privateDnsZones: privateDnsZones
    endpoints: [
      ...storageEndpoints
      ...(empty(vaultName) ? [] : vaultEndpoints)
      ...(empty(modelAccountName) ? [] : modelEndpoints)
    ]
  }
}

output appSubnetId string = appSubnet
output endpointSubnetId string = endpointSubnet
