// What nobody deletes by mistake: the data, the secrets and the logs. `azd down` ends at these locks, too.
@description('The storage account.')
param storageName string

@description('The vault, if it is made here; else empty.')
param vaultName string

@description('The workspace, if it is made here; else empty.')
param workspaceName string

var properties = {
  level: 'CanNotDelete'
  notes: 'By LOCKS_ENABLED of this deployment. Delete the lock before the resource.'
}

resource storage 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: storageName
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: empty(vaultName) ? 'none' : vaultName
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' existing = {
  name: empty(workspaceName) ? 'none' : workspaceName
}

resource ofStorage 'Microsoft.Authorization/locks@2020-05-01' = {
  scope: storage
  name: 'keep'
  properties: properties
}

resource ofVault 'Microsoft.Authorization/locks@2020-05-01' = if (!empty(vaultName)) {
  scope: vault
  name: 'keep'
  properties: properties
}

resource ofWorkspace 'Microsoft.Authorization/locks@2020-05-01' = if (!empty(workspaceName)) {
  scope: workspace
  name: 'keep'
  properties: properties
}
