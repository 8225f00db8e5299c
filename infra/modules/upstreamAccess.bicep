// The app's role at an Azure OpenAI elsewhere, in whatever group and subscription it is.
@description('The resource id of the app\'s identity.')
param identityId string

@description('The app\'s identity.')
param appPrincipalId string

@description('The account that is the upstream.')
@minLength(2)
@maxLength(64)
param accountName string

var roles = {
  cognitiveServicesOpenAIUser: '5e0bd9bd-7b93-4f28-af87-19fc36ad61bd'
}

resource account 'Microsoft.CognitiveServices/accounts@2025-06-01' existing = {
  name: accountName
}

resource appUpstream 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: account
  name: guid(account.id, identityId, roles.cognitiveServicesOpenAIUser)
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.cognitiveServicesOpenAIUser
    )
  }
}

output roleIds string[] = [appUpstream.id]
