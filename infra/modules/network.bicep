// Optional: the app leaves by a network of its own, and reaches storage, secrets and the model by private endpoints.
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

@description('The storage account.')
param storageName string

@description('The vault.')
param vaultName string

@description('The model account; empty if there is none.')
param modelAccountName string

var storageSuffix = environment().suffixes.storage

var ownEndpoints = [
  {
    name: 'blob'
    target: resourceId('Microsoft.Storage/storageAccounts', storageName)
    group: 'blob'
    zones: ['privatelink.blob.${storageSuffix}']
  }
  {
    name: 'queue'
    target: resourceId('Microsoft.Storage/storageAccounts', storageName)
    group: 'queue'
    zones: ['privatelink.queue.${storageSuffix}']
  }
  {
    name: 'table'
    target: resourceId('Microsoft.Storage/storageAccounts', storageName)
    group: 'table'
    zones: ['privatelink.table.${storageSuffix}']
  }
  {
    name: 'vault'
    target: resourceId('Microsoft.KeyVault/vaults', vaultName)
    group: 'vault'
    zones: ['privatelink.vaultcore.azure.net']
  }
]

var modelEndpoints = [
  {
    name: 'model'
    target: resourceId('Microsoft.CognitiveServices/accounts', modelAccountName)
    group: 'account'
    zones: [
      'privatelink.openai.azure.com'
      'privatelink.cognitiveservices.azure.com'
      'privatelink.services.ai.azure.com'
    ]
  }
]

var endpoints = [...ownEndpoints, ...(empty(modelAccountName) ? [] : modelEndpoints)]
var zoneNames = flatten(map(endpoints, endpoint => endpoint.zones))

resource network 'Microsoft.Network/virtualNetworks@2024-07-01' = {
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

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for zone in zoneNames: {
    name: zone
    location: 'global'
    tags: tags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (zone, index) in zoneNames: {
    parent: zones[index]
    name: name
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: {
        id: network.id
      }
    }
  }
]

resource privateEndpoints 'Microsoft.Network/privateEndpoints@2024-07-01' = [
  for endpoint in endpoints: {
    name: '${endpointsName}-${endpoint.name}'
    location: location
    tags: tags
    properties: {
      subnet: {
        id: '${network.id}/subnets/endpoints'
      }
      privateLinkServiceConnections: [
        {
          name: endpoint.name
          properties: {
            privateLinkServiceId: endpoint.target
            groupIds: [endpoint.group]
          }
        }
      ]
    }
  }
]

resource zoneGroups 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-07-01' = [
  for (endpoint, index) in endpoints: {
    parent: privateEndpoints[index]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        for zone in endpoint.zones: {
          name: replace(zone, '.', '-')
          properties: {
            privateDnsZoneId: resourceId('Microsoft.Network/privateDnsZones', zone)
          }
        }
      ]
    }
    dependsOn: [zones, links]
  }
]

output appSubnetId string = '${network.id}/subnets/app'
