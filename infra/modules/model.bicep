// An upstream for those who have none: an account without keys and one deployment.
@description('Name of the account, and its subdomain: Entra tokens need one.')
@minLength(2)
@maxLength(64)
param name string

@description('Region.')
param location string

@description('Tags of every resource.')
param tags { *: string }

@description('Whether the account is reached by private endpoint only.')
param isPrivate bool

@description('The model.')
param modelName string

@description('Its version; empty for the one that is the default on the day.')
param modelVersion string

@description('How it is deployed, such as GlobalStandard or DataZoneStandard.')
param deploymentSku string

@description('Quota of the deployment, in thousands of tokens a minute.')
@minValue(1)
@maxValue(5000)
param capacity int

@description('Bring back the deleted account of the same name, in place of making one.')
param recover bool

resource account 'Microsoft.CognitiveServices/accounts@2025-06-01' = {
  name: name
  location: location
  tags: tags
  kind: 'AIServices'
  sku: {
    name: 'S0'
  }
  properties: {
    customSubDomainName: name
    disableLocalAuth: true
    restore: recover ? true : null // there is a deleted one, or it is refused
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    networkAcls: {
      defaultAction: isPrivate ? 'Deny' : 'Allow'
    }
  }
}

resource deployment 'Microsoft.CognitiveServices/accounts/deployments@2025-06-01' = {
  parent: account
  name: modelName
  tags: tags
  sku: {
    name: deploymentSku
    capacity: capacity
  }
  properties: {
    model: {
      format: 'OpenAI'
      name: modelName
      version: empty(modelVersion) ? null : modelVersion
    }
    versionUpgradeOption: 'OnceCurrentVersionExpired'
  }
}

output id string = account.id
output name string = account.name
output deploymentName string = deployment.name
output baseUrl string = '${account.properties.endpoints['OpenAI Language Model Instance API']}openai/v1'
