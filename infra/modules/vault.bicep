// Secrets: who may call, and the upstream's. Their values are written by hooks and operators, never by a template.
@description('Name of the vault.')
@minLength(3)
@maxLength(24)
param name string

@description('Region.')
param location string

@description('Tags of every resource.')
param tags { *: string }

@description('Whether the vault is reached by private endpoint, and else only from the operators\' addresses.')
param isPrivate bool

@description('Public addresses or ranges (CIDR) from which operators write secrets when the vault is private.')
param operatorIpRanges string[]

@description('Keeps a deleted vault and its secrets for the whole retention. It can never be turned off again.')
param purgeProtection bool

@description('Bring back the deleted vault of the same name, with its secrets, in place of making one.')
param recover bool

@description('The workspace that gets the audit log.')
param workspaceId string

@description('Whether it gets every other log, too.')
param logsAll bool

@description('Whether it gets metrics.')
param measures bool

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    sku: {
      family: 'A'
      name: 'standard'
    }
    tenantId: tenant().tenantId
    createMode: recover ? 'recover' : 'default'
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: purgeProtection ? true : null // false is refused
    publicNetworkAccess: isPrivate && empty(operatorIpRanges) ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'None'
      defaultAction: isPrivate ? 'Deny' : 'Allow'
      ipRules: [
        for address in operatorIpRanges: {
          value: address
        }
      ]
    }
  }
}

resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: vault
  name: 'audit'
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: logsAll ? null : 'AuditEvent'
        categoryGroup: logsAll ? 'allLogs' : null
        enabled: true
      }
    ]
    metrics: measures ? [{ category: 'AllMetrics', enabled: true }] : []
  }
}

output id string = vault.id
output name string = vault.name
output uri string = vault.properties.vaultUri
