// Who may do what: every role assignment of the deployment is here, or in the modules that this one uses. The app's reach is these resources and nothing else.
@description('The app\'s identity.')
param identityName string

@description('Who deploys, and writes the first secrets; empty for nobody.')
param deployerPrincipalId string

@description('What kind of principal deploys: ServicePrincipal in a pipeline.')
@allowed(['User', 'Group', 'ServicePrincipal'])
param deployerPrincipalType string

@description('The storage account.')
param storageName string

@description('The vault, as a resource id: it may be in another group or subscription.')
param vaultId string

@description('Application Insights.')
param insightsName string

@description('The model account; empty if there is none.')
param modelAccountName string

@description('An upstream that this deployment does not make, as a resource id, at which the app gets its role; empty for none.')
param upstreamResourceId string

var roles = {
  storageBlobDataOwner: 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
  storageQueueDataContributor: '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
  storageTableDataContributor: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
  monitoringMetricsPublisher: '3913510d-42f4-4e42-8a64-420c390055eb'
  cognitiveServicesOpenAIUser: '5e0bd9bd-7b93-4f28-af87-19fc36ad61bd'
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource storage 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: storageName
}

// The third part of its id is its subscription, the fifth its group.
resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  scope: resourceGroup(split(vaultId, '/')[2], split(vaultId, '/')[4])
  name: last(split(vaultId, '/'))
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource model 'Microsoft.CognitiveServices/accounts@2025-06-01' existing = {
  name: empty(modelAccountName) ? 'none' : modelAccountName
}

// Host keys, the timers' leases and the deployment package: the platform asks for Owner, Contributor is not enough.
resource appBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: storage
  name: guid(storage.id, identity.id, roles.storageBlobDataOwner)
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataOwner)
  }
}

// Reads, sends and moves to poison queues, and makes the queues that are not there.
resource appQueues 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: storage
  name: guid(storage.id, identity.id, roles.storageQueueDataContributor)
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.storageQueueDataContributor
    )
  }
}

resource appTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: storage
  name: guid(storage.id, identity.id, roles.storageTableDataContributor)
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.storageTableDataContributor
    )
  }
}

module secrets 'vaultAccess.bicep' = {
  scope: resourceGroup(split(vaultId, '/')[2], split(vaultId, '/')[4])
  name: 'vault-access-${uniqueString(identity.id)}'
  params: {
    vaultName: last(split(vaultId, '/'))
    identityId: identity.id
    appPrincipalId: identity.properties.principalId
    deployerPrincipalId: deployerPrincipalId
    deployerPrincipalType: deployerPrincipalType
  }
}

resource appTelemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: insights
  name: guid(insights.id, identity.id, roles.monitoringMetricsPublisher)
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.monitoringMetricsPublisher
    )
  }
}

resource appModel 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(modelAccountName)) {
  scope: model
  name: guid(model.id, identity.id, roles.cognitiveServicesOpenAIUser)
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.cognitiveServicesOpenAIUser
    )
  }
}

// The parts of its id: the third is its subscription, the fifth its group, the ninth its name.
var upstreamParts = split(
  empty(upstreamResourceId) ? '${resourceGroup().id}/providers/none/accounts/none' : upstreamResourceId,
  '/'
)

module upstream 'upstreamAccess.bicep' = if (!empty(upstreamResourceId)) {
  scope: resourceGroup(upstreamParts[2], upstreamParts[4])
  name: 'upstream-access-${uniqueString(identity.id)}'
  params: {
    identityId: identity.id
    appPrincipalId: identity.properties.principalId
    accountName: upstreamParts[8]
  }
}

output vaultUri string = vault.properties.vaultUri
output vaultRoleIds string[] = secrets.outputs.roleIds
output upstreamRoleIds string[] = empty(upstreamResourceId) ? [] : upstream!.outputs.roleIds
