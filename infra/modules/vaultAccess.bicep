// Who may read and write secrets, in whatever group and subscription the vault is.
@description('The vault.')
param vaultName string

@description('The resource id of the app\'s identity.')
param identityId string

@description('The app\'s identity.')
param appPrincipalId string

@description('Who deploys, and writes the first secrets; empty for nobody.')
param deployerPrincipalId string

@description('What kind of principal deploys: ServicePrincipal in a pipeline.')
@allowed(['User', 'Group', 'ServicePrincipal'])
param deployerPrincipalType string

var roles = {
  keyVaultSecretsUser: '4633458b-17de-408a-b874-0445c86b69e6'
  keyVaultSecretsOfficer: 'b86a8fe4-44ce-4948-aee5-eccb2c155cd7'
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

// Reads secrets and can change none.
resource appSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: vault
  name: guid(vault.id, identityId, roles.keyVaultSecretsUser)
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.keyVaultSecretsUser)
  }
}

resource deployerSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(deployerPrincipalId)) {
  scope: vault
  name: guid(vault.id, deployerPrincipalId, roles.keyVaultSecretsOfficer)
  properties: {
    principalId: deployerPrincipalId
    principalType: deployerPrincipalType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.keyVaultSecretsOfficer)
  }
}

output roleIds string[] = concat([appSecrets.id], empty(deployerPrincipalId) ? [] : [deployerSecrets.id])
