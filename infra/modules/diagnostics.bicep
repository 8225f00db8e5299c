// What the platform itself tells of each resource, sent to the workspace. A vault that is made here has its own setting.
@description('audit for metrics and who changed what; all for every log besides, also of each request to storage and the model.')
@allowed(['audit', 'all'])
param level string

@description('The workspace that gets it.')
param workspaceId string

@description('The storage account.')
param storageName string

@description('The app.')
param appName string

@description('The app\'s plan.')
param planName string

@description('The model account; empty if there is none.')
param modelAccountName string

@description('The network; empty if none is made.')
param networkName string

@description('The workspace, if it is made here; else empty, and its owner decides.')
param ownWorkspaceName string

var all = [{ categoryGroup: 'allLogs', enabled: true }]
var audit = [{ categoryGroup: 'audit', enabled: true }]
var logs = level == 'all' ? all : []
var metrics = [{ category: 'AllMetrics', enabled: true }]

resource storage 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: storageName

  resource blobs 'blobServices' existing = {
    name: 'default'
  }

  resource queues 'queueServices' existing = {
    name: 'default'
  }

  resource tables 'tableServices' existing = {
    name: 'default'
  }
}

resource app 'Microsoft.Web/sites@2024-11-01' existing = {
  name: appName
}

resource plan 'Microsoft.Web/serverfarms@2024-11-01' existing = {
  name: planName
}

resource model 'Microsoft.CognitiveServices/accounts@2025-06-01' existing = {
  name: empty(modelAccountName) ? 'none' : modelAccountName
}

resource network 'Microsoft.Network/virtualNetworks@2024-07-01' existing = {
  name: empty(networkName) ? 'none' : networkName
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' existing = {
  name: empty(ownWorkspaceName) ? 'none' : ownWorkspaceName
}

// The account itself has metrics only. Its logs are those of its services.
resource ofStorage 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: storage
  name: 'platform'
  properties: {
    workspaceId: workspaceId
    metrics: metrics
  }
}

resource ofBlobs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: storage::blobs
  name: 'platform'
  properties: {
    workspaceId: workspaceId
    logs: logs
    metrics: metrics
  }
}

resource ofQueues 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: storage::queues
  name: 'platform'
  properties: {
    workspaceId: workspaceId
    logs: logs
    metrics: metrics
  }
}

resource ofTables 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: storage::tables
  name: 'platform'
  properties: {
    workspaceId: workspaceId
    logs: logs
    metrics: metrics
  }
}

resource ofApp 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: app
  name: 'platform'
  properties: {
    workspaceId: workspaceId
    logs: logs
    metrics: metrics
  }
}

resource ofPlan 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: plan
  name: 'platform'
  properties: {
    workspaceId: workspaceId
    metrics: metrics
  }
}

resource ofModel 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(modelAccountName)) {
  scope: model
  name: 'platform'
  properties: {
    workspaceId: workspaceId
    logs: level == 'all' ? all : audit
    metrics: metrics
  }
}

resource ofNetwork 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(networkName)) {
  scope: network
  name: 'platform'
  properties: {
    workspaceId: workspaceId
    logs: logs
    metrics: metrics
  }
}

resource ofWorkspace 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(ownWorkspaceName)) {
  scope: workspace
  name: 'platform'
  properties: {
    workspaceId: workspaceId
    logs: level == 'all' ? all : audit
    metrics: metrics
  }
}
