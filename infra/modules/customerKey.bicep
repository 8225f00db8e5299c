// An identity by which storage uses the customer's key, and nothing else. The app's identity has no right to the key.
@description('Name of the identity.')
param name string

@description('Region.')
param location string

@description('Tags of every resource.')
param tags { *: string }

@description('The key, as a resource id.')
param keyId string

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
  tags: tags
}

// The third part of the key's id is its subscription, the fifth its group.
module access 'keyAccess.bicep' = {
  scope: resourceGroup(split(keyId, '/')[2], split(keyId, '/')[4])
  name: 'key-access-${uniqueString(identity.id)}'
  params: {
    vaultName: split(keyId, '/')[8]
    keyName: last(split(keyId, '/'))
    identityId: identity.id
    principalId: identity.properties.principalId
  }
}

output vaultUri string = access.outputs.vaultUri
output roleIds string[] = access.outputs.roleIds
