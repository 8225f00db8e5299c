// Logs and metrics: in a workspace of the deployment's own, or in one that is there.
@description('The workspace that is there; empty to make one.')
param existingWorkspaceId string

@description('Name of the workspace.')
param workspaceName string

@description('Name of Application Insights.')
param insightsName string

@description('Region.')
param location string

@description('Tags of every resource.')
param tags { *: string }

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param retentionDays int

@description('Gigabytes a day after which nothing more is taken in; -1 for no limit. At the limit the alert "silent" fires.')
@minValue(-1)
@maxValue(1000)
param dailyLimitGb int

module own 'monitoring.bicep' = if (empty(existingWorkspaceId)) {
  name: 'workspace'
  params: {
    workspaceName: workspaceName
    insightsName: insightsName
    location: location
    tags: tags
    retentionDays: retentionDays
    dailyLimitGb: dailyLimitGb
  }
}

// As in monitoring.bicep, but for where its data go.
resource insights 'Microsoft.Insights/components@2020-02-02' = if (!empty(existingWorkspaceId)) {
  name: insightsName
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: existingWorkspaceId
    DisableLocalAuth: true
  }
}

output workspaceId string = empty(existingWorkspaceId) ? own!.outputs.workspaceId : existingWorkspaceId
output insightsName string = insightsName
output connectionString string = empty(existingWorkspaceId)
  ? own!.outputs.connectionString
  : insights!.properties.ConnectionString
