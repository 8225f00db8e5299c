// One account: the app's state (table, queues), the platform's leases and host keys, and the deployment package (blobs).
@description('Name of the account.')
@minLength(3)
@maxLength(24)
param name string

@description('Region.')
param location string

@description('Tags of every resource.')
param tags { *: string }

@description('The customer\'s key that encrypts the account, as a resource id; empty for Microsoft\'s.')
param customerKeyId string

@description('The identity by which it is used.')
param keyIdentityName string

@description('Redundancy. Without a second region: a geo copy lags behind, and a lagging table would start work twice.')
@allowed(['Standard_LRS', 'Standard_ZRS'])
param sku string

@description('Whether the account is reached by private endpoints only.')
param isPrivate bool

@description('Queues that callers may name in reply_to; patterns are not made here.')
param replyQueues string[]

// Whom the app wakes (shared/storage/wakeups.py), and what a trigger gave up on: the platform moves it to <queue>-poison.
var queueNames = [
  'nudges'
  'deliveries'
  'runs'
  'requests'
  'nudges-poison'
  'deliveries-poison'
  'runs-poison'
  'requests-poison'
]

// A name that is given twice, or that is one of ours, is one queue.
var allQueueNames = union(queueNames, filter(replyQueues, name => !contains(name, '*')))

var tableNames = [
  'responses'
]

var packageContainer = 'packages'

var keyIdentityId = resourceId('Microsoft.ManagedIdentity/userAssignedIdentities', keyIdentityName)

module customerKey 'customerKey.bicep' = if (!empty(customerKeyId)) {
  name: 'customer-key'
  params: {
    name: keyIdentityName
    location: location
    tags: tags
    keyId: customerKeyId
  }
}

resource account 'Microsoft.Storage/storageAccounts@2025-01-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: sku
  }
  identity: empty(customerKeyId)
    ? null
    : {
        type: 'UserAssigned'
        userAssignedIdentities: {
          '${keyIdentityId}': {}
        }
      }
  properties: {
    // Without a version of the key: storage takes a new one within a day. Queues and tables follow the account's key only
    // if they are told so when the account is made.
    encryption: empty(customerKeyId)
      ? null
      : {
          keySource: 'Microsoft.Keyvault'
          keyvaultproperties: {
            keyvaulturi: customerKey!.outputs.vaultUri
            keyname: last(split(customerKeyId, '/'))
          }
          identity: {
            userAssignedIdentity: keyIdentityId
          }
          services: {
            blob: { enabled: true, keyType: 'Account' }
            file: { enabled: true, keyType: 'Account' }
            queue: { enabled: true, keyType: 'Account' }
            table: { enabled: true, keyType: 'Account' }
          }
        }
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'None'
      defaultAction: isPrivate ? 'Deny' : 'Allow'
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-01-01' = {
  parent: account
  name: 'default'
  properties: {
    deleteRetentionPolicy: {
      enabled: true
      days: 7
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: 7
    }
  }
}

resource packages 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' = {
  parent: blobs
  name: packageContainer
  properties: {
    publicAccess: 'None'
  }
}

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2025-01-01' = {
  parent: account
  name: 'default'
}

resource queues 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-01-01' = [
  for queue in allQueueNames: {
    parent: queueService
    name: queue
  }
]

resource tableService 'Microsoft.Storage/storageAccounts/tableServices@2025-01-01' = {
  parent: account
  name: 'default'
}

resource tables 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-01-01' = [
  for table in tableNames: {
    parent: tableService
    name: table
  }
]

output id string = account.id
output name string = account.name
output packagesUrl string = '${account.properties.primaryEndpoints.blob}${packages.name}'
output keyRoleIds string[] = empty(customerKeyId) ? [] : customerKey!.outputs.roleIds
