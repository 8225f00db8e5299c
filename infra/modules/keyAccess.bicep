// The role at a key, in whatever group and subscription its vault is: to wrap and to unwrap.
@description('The vault that has the key.')
param vaultName string

@description('The key.')
param keyName string

@description('The resource id of the identity.')
param identityId string

@description('The identity.')
param principalId string

var roles = {
  keyVaultCryptoServiceEncryptionUser: 'e147488a-f6f5-4113-8e2d-b22465e65bf6'
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName

  resource key 'keys' existing = {
    name: keyName
  }
}

resource usesKey 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: vault::key
  name: guid(vault::key.id, identityId, roles.keyVaultCryptoServiceEncryptionUser)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.keyVaultCryptoServiceEncryptionUser
    )
  }
}

output vaultUri string = vault.properties.vaultUri
output roleIds string[] = [usesKey.id]
