// Private endpoints, and the private zones by which names lead to them. Zones are made here, or are there already, or are
// left to a policy of the platform team, which then writes the names.
import * as values from 'values.bicep'

@description('The first part of the endpoints\' names.')
@minLength(2)
@maxLength(58)
param name string

@description('Region.')
param location string

@description('Tags of every resource.')
param tags { *: string }

@description('The subnet in which the endpoints are.')
param subnetId string

@description('The network in which names lead to the endpoints, by zones that are made here.')
param networkId string

@description('The zones that are there, as PRIVATE_DNS_ZONES says it; empty to make them.')
param privateDnsZones string

@description('What gets an endpoint.')
param endpoints endpointType[]

@export()
@description('An endpoint: the part of a resource that it leads to, and the zones of its names.')
type endpointType = {
  name: string
  kind: string
  resource: string
  group: string
  zones: { service: string, name: string }[]
}

var makesZones = empty(privateDnsZones)
var zoneTags = makesZones ? values.tagsOfZone(tags) : {}
var zoneNames = makesZones ? map(flatten(map(endpoints, endpoint => endpoint.zones)), zone => zone.name) : []
var named = privateDnsZones == 'policy' ? [] : endpoints

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for zone in zoneNames: {
    name: zone
    location: 'global'
    tags: zoneTags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (zone, index) in zoneNames: {
    parent: zones[index]
    name: last(split(networkId, '/'))
    location: 'global'
    tags: zoneTags
    properties: {
      registrationEnabled: false
      virtualNetwork: {
        id: networkId
      }
    }
  }
]

resource privateEndpoints 'Microsoft.Network/privateEndpoints@2024-07-01' = [
  for endpoint in endpoints: {
    name: '${name}-${endpoint.name}'
    location: location
    tags: tags
    properties: {
      subnet: {
        id: subnetId
      }
      privateLinkServiceConnections: [
        {
          name: endpoint.name
          properties: {
            privateLinkServiceId: resourceId(endpoint.kind, endpoint.resource)
            groupIds: [endpoint.group]
          }
        }
      ]
    }
  }
]

resource zoneGroups 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-07-01' = [
  for (endpoint, index) in named: {
    parent: privateEndpoints[index]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        for zone in endpoint.zones: {
          name: replace(zone.name, '.', '-')
          properties: {
            privateDnsZoneId: makesZones
              ? resourceId('Microsoft.Network/privateDnsZones', zone.name)
              : values.zoneId(privateDnsZones, zone.service, zone.name)
          }
        }
      ]
    }
    dependsOn: [zones, links]
  }
]
