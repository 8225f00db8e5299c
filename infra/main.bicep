// `azd up`: everything that Background Responses needs, in a resource group of its own, without a key.
targetScope = 'subscription'

import * as checks from 'modules/checks.bicep'
import * as values from 'modules/values.bicep'

@description('Name of the azd environment; the group and, by a hash, all names come from it.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('Region: one that has Flex Consumption, and the model if one is deployed.')
// Those of Microsoft's quickstart for Flex Consumption. `az functionapp list-flexconsumption-locations` has those of today.
// The hook before a deployment reads them here (infra/hooks/regions.py), because azd reads none beside a .bicepparam.
@allowed([
  'australiaeast'
  'australiasoutheast'
  'brazilsouth'
  'canadacentral'
  'centralindia'
  'centralus'
  'eastasia'
  'eastus'
  'eastus2'
  'francecentral'
  'germanywestcentral'
  'italynorth'
  'japaneast'
  'koreacentral'
  'northcentralus'
  'northeurope'
  'norwayeast'
  'southafricanorth'
  'southcentralus'
  'southeastasia'
  'southindia'
  'spaincentral'
  'swedencentral'
  'uaenorth'
  'uksouth'
  'ukwest'
  'westcentralus'
  'westeurope'
  'westus'
  'westus2'
  'westus3'
])
param location string

@description('Who deploys; azd fills it in. Gets the right to write secrets, and nothing else. Empty for nobody.')
param principalId string = ''

@description('What kind of principal deploys: ServicePrincipal in a pipeline.')
@allowed(['User', 'Group', 'ServicePrincipal'])
param principalType string = 'User'

@description('A server of the Responses API, such as https://api.openai.com/v1; empty to deploy a model.')
param upstreamBaseUrl string = ''

@description('The Azure OpenAI that is the upstream, as its resource id, for the app to get its role there; empty to give none.')
param upstreamResourceId string = ''

@description('Several upstreams: the name of a JSON file beside the app, as docs/upstreams.md says.')
param upstreams string = ''

@description('Whether the vault holds the secrets of these upstreams, a JSON object, as upstream-keys.')
param upstreamKeysInVault bool = false

@description('The most responses that the upstream works on at once; empty for no limit.')
param upstreamMaxInFlight string = ''

@description('foreground for an upstream without background mode.')
@allowed(['background', 'foreground'])
param upstreamMode string = 'background'

@description('The scope of the Entra token for the upstream.')
@minLength(1)
param upstreamScope string = 'https://cognitiveservices.azure.com/.default'

@description('Whether the vault holds the upstream\'s key, as upstream-api-key. Without one the app uses its identity.')
param upstreamApiKeyInVault bool = false

@description('Whether the upstream tells of ends, and the vault holds what it signs with, as upstream-webhook-secret.')
param upstreamWebhooks bool = false

@description('Whether a create repeated with the same Idempotency-Key starts nothing new upstream.')
param upstreamHonoursIdempotencyKey bool = false

@description('The module that holds the agents, if the app runs any.')
@minLength(1)
param agentsModule string = 'agents'

@description('The model, where one is deployed; empty for the default.')
param modelName string = 'gpt-5-mini'

@description('Its version; empty for the default of the day.')
param modelVersion string = ''

@description('How the model is deployed; empty for the default.')
param modelSku string = 'GlobalStandard'

@description('The model\'s quota, in thousands of tokens a minute.')
@minValue(1)
@maxValue(5000)
param modelCapacity int = 50

@description('Seconds after which an unfinished response fails; without background mode at most 21000.')
@minValue(1)
@maxValue(604800)
param responseDeadlineS int = 14400

@description('Seconds that an ended response is kept.')
@minValue(1)
@maxValue(315360000)
param retentionS int = 2592000

@description('Seconds that one answer goes on at most, a stream or a foreground call. Then its connection breaks.')
@minValue(1)
@maxValue(21000)
param streamMaxS int = 21000

@description('Seconds for which a client for .NET gets no byte of a foreground call. Other pauses are not longer.')
@minValue(1)
@maxValue(95)
param foregroundHoldS int = 85

@description('Seconds of the longest silence of a stream. The load balancer cuts a silent one after 230.')
@minValue(1)
@maxValue(60)
param streamHeartbeatS int = 15

@description('Whether an instance may work between its invocations, so that it polls young responses itself.')
param watch bool = true

@description('Whether the app serves the page /console. docs/security.md says what it can reach.')
param console bool = false

@description('Queues that callers may name in reply_to, comma-separated, patterns with * allowed. Plain names are made here.')
param replyQueues string = ''

@description('The caller on whose behalf messages of the queue requests are made; empty for the first.')
param requestsCaller string = ''

@description('Prices of a million tokens by model, for usage: MODEL=INPUT/CACHED/OUTPUT, comma-separated.')
param prices string = ''

@description('Memory of an instance. 512 is not offered: the part of a processor that comes with it is too little to start in time.')
@allowed([2048, 4096])
param instanceMemoryMB int = 2048

@description('The most instances of each scaling group (HTTP, and each queue and timer function): a cap on spending, no throttle.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Requests, streams among them, that one instance serves at once.')
@minValue(1)
@maxValue(1000)
param httpConcurrency int = 200

@description('Instances for HTTP that are always there: no cold start, paid by the hour.')
@minValue(0)
@maxValue(20)
param alwaysReadyHttp int = 0

@description('Instances for sweeps that are always there: the first callback of an older response comes at once.')
@minValue(0)
@maxValue(20)
param alwaysReadySweep int = 0

@description('Instances for runs that are always there: agents and upstreams without background mode work for hours.')
@minValue(0)
@maxValue(20)
param alwaysReadyRun int = 0

@description('Spread instances over zones, where the region has them; give storageSku Standard_ZRS with it.')
param zoneRedundant bool = false

@description('Redundancy of the storage account.')
@allowed(['Standard_LRS', 'Standard_ZRS'])
param storageSku string = 'Standard_LRS'

@description('A network for the app, and private endpoints for storage, vault and model. The app itself stays reachable.')
param vnetEnabled bool = false

@description('Address space of that network (CIDR).')
param vnetPrefix string = '10.84.0.0/24'

@description('The part of it for the app, empty for its first /26: that serves 40 instances, a /24 the most that there can be.')
param appSubnetPrefix string = ''

@description('The part of it for the private endpoints, at least a /28; empty for its third /27.')
param endpointSubnetPrefix string = ''

@description('Public addresses or ranges from which operators write secrets to a private vault, comma-separated.')
param operatorIpRanges string = ''

@description('App registration whose tokens are asked for before a request reaches the app; empty for none.')
param entraClientId string = ''

@description('Keep a deleted vault for 90 days, whatever anybody does. It can never be turned off for a vault that has it.')
param vaultPurgeProtection bool = true

@description('Bring back the vault that `azd down` deleted, with its secrets.')
param vaultRecover bool = false

@description('Bring back the model account that `azd down` deleted in the last 48 hours. With --purge there is none.')
param modelRecover bool = false

@description('Which traces are kept: all, or those of a share of the responses.')
@allowed(['always_on', 'traceidratio'])
param otelTracesSampler string = 'always_on'

@description('That share, from 0 to 1, such as 0.1.')
@minLength(1)
@maxLength(8)
param otelTracesSamplerArg string = '1'

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('Gigabytes of logs a day after which nothing more is taken in; -1 for no limit.')
@minValue(-1)
@maxValue(1000)
param logDailyLimitGb int = 5

@description('Whom alerts write to; empty for nobody.')
param alertEmail string = ''

@description('Tags of every resource beside those that are set here: NAME=VALUE, comma-separated.')
param resourceTags string = ''

@description('Names in place of those that are made from the environment\'s: KIND=NAME, comma-separated.')
param resourceNames string = ''

@description('The subnet by which the app leaves, as a resource id, if one is there; empty to make a network.')
param appSubnetId string = ''

@description('The subnet for private endpoints, as a resource id, if one is there; empty to make a network.')
param endpointSubnetId string = ''

@description('Private DNS zones that are there: the id of their resource group, or their ids; policy if one writes the names.')
param privateDnsZones string = ''

@description('Whether the app is reached by a private endpoint only.')
param privateInbound bool = false

@description('The Log Analytics workspace, as a resource id, if one is there; empty to make one.')
param workspaceId string = ''

@description('The vault for this deployment\'s secrets, as a resource id, if one is there; empty to make one.')
param keyVaultId string = ''

@description('The platform\'s own logs that go to the workspace: of the vault only, metrics and audits of all, or all there is.')
@allowed(['vault', 'audit', 'all'])
param diagnostics string = 'vault'

@description('Whether storage, vault and workspace are locked against deletion, also by `azd down`.')
param locksEnabled bool = false

@description('A key in a vault that is there, as a resource id, by which storage is encrypted; empty for Microsoft\'s.')
param customerKeyId string = ''

var token = toLower(uniqueString(subscription().id, environmentName, location))
var tags = {
  ...values.tagsOf(resourceTags)
  'azd-env-name': environmentName
  application: 'background-responses'
}
var makesModel = empty(upstreamBaseUrl) && empty(upstreams)
var usualNames = {
  group: 'rg-${environmentName}'
  identity: 'id-${token}'
  workspace: 'log-${token}'
  insights: 'appi-${token}'
  storage: 'st${token}'
  vault: 'kv-${token}'
  model: makesModel ? 'ai-${token}' : ''
  network: 'vnet-${token}'
  endpoints: 'pep-${token}'
  plan: 'plan-${token}'
  app: 'func-${token}'
  keyIdentity: 'id-key-${token}'
  alerts: 'alert-${token}'
}
var absent = [
  ...(makesModel ? [] : ['model'])
  ...(vnetEnabled ? [] : ['network', 'endpoints'])
  ...(empty(appSubnetId) ? [] : ['network'])
  ...(empty(workspaceId) ? [] : ['workspace'])
  ...(empty(keyVaultId) ? [] : ['vault'])
  ...(empty(customerKeyId) ? ['keyIdentity'] : [])
]
var named = values.namesOf(resourceNames, filter(objectKeys(usualNames), kind => !contains(absent, kind)))
var names = { ...usualNames, ...named }

// Also where no model is made: a parameter of a module that is left out is not looked at.
var recoversModel = checks.recoversModel(modelRecover, makesModel)
var modelChoices = [
  !contains(['', 'gpt-5-mini'], modelName)
  !empty(modelVersion)
  !contains(['', 'GlobalStandard'], modelSku)
  modelCapacity != 50
]
var deployedModel = checks.deployedModelOf(modelName, contains(modelChoices, true), makesModel)
var upstreamChoices = [
  upstreamMode != 'background'
  upstreamScope != 'https://cognitiveservices.azure.com/.default'
  !empty(upstreamMaxInFlight)
  upstreamHonoursIdempotencyKey
]
var isListed = empty(upstreamBaseUrl) && !empty(upstreams) // no upstream but those of the file
var replyTo = checks.queuesOf(replyQueues)

// What is there already: ids, or nothing.
var ownParts = checks.addressed(
  [vnetPrefix == '10.84.0.0/24' ? '' : vnetPrefix, appSubnetPrefix, endpointSubnetPrefix],
  vnetEnabled
)
var leavesBy = values.subnetOf(appSubnetId, endpointSubnetId, 'APP_SUBNET_ID', vnetEnabled, ownParts)
var entersBy = values.subnetOf(endpointSubnetId, appSubnetId, 'ENDPOINT_SUBNET_ID', vnetEnabled, ownParts)
var zones = values.zonesOf(privateDnsZones, vnetEnabled)
var subnets = vnetEnabled && empty(leavesBy)
  ? checks.partsOf(vnetPrefix, appSubnetPrefix, endpointSubnetPrefix)
  : { app: '', endpoints: '' }
var isHidden = checks.isHidden(privateInbound, vnetEnabled)
var logsTo = checks.workspaceOf(workspaceId, logRetentionDays != 30 || logDailyLimitGb != 5)
var operatorIps = checks.addressesOf(operatorIpRanges, vnetEnabled)
var secretsIn = checks.vaultOf(keyVaultId, vaultRecover || !vaultPurgeProtection || !empty(operatorIps))
var encryptsWith = values.idOf(customerKeyId, 'CUSTOMER_KEY_ID', 'Microsoft.KeyVault/vaults/*/keys/*')
var ownVault = resourceId(subscription().subscriptionId, names.group, 'Microsoft.KeyVault/vaults', names.vault)
var vaultId = empty(secretsIn) ? ownVault : secretsIn

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: names.group
  location: location
  tags: tags
}

module identity 'modules/identity.bicep' = {
  scope: group
  name: 'identity'
  params: {
    name: names.identity
    location: location
    tags: tags
  }
}

module monitoring 'modules/logs.bicep' = {
  scope: group
  name: 'monitoring'
  params: {
    existingWorkspaceId: logsTo
    workspaceName: names.workspace
    insightsName: names.insights
    location: location
    tags: tags
    retentionDays: logRetentionDays
    dailyLimitGb: logDailyLimitGb
  }
}

module storage 'modules/storage.bicep' = {
  scope: group
  name: 'storage'
  params: {
    name: names.storage
    location: location
    tags: tags
    customerKeyId: encryptsWith
    keyIdentityName: names.keyIdentity
    sku: storageSku
    isPrivate: vnetEnabled
    replyQueues: values.parts(replyTo)
  }
}

module vault 'modules/vault.bicep' = if (empty(secretsIn)) {
  scope: group
  name: 'vault'
  params: {
    name: names.vault
    location: location
    tags: tags
    isPrivate: vnetEnabled
    operatorIpRanges: operatorIps
    purgeProtection: vaultPurgeProtection
    recover: vaultRecover
    workspaceId: monitoring.outputs.workspaceId
    logsAll: diagnostics == 'all'
    measures: diagnostics != 'vault'
  }
}

module model 'modules/model.bicep' = if (makesModel) {
  scope: group
  name: 'model'
  params: {
    name: names.model
    location: location
    tags: tags
    isPrivate: vnetEnabled
    modelName: deployedModel
    modelVersion: modelVersion
    deploymentSku: empty(modelSku) ? 'GlobalStandard' : modelSku
    capacity: modelCapacity
    recover: recoversModel
  }
}

// It gets names and no outputs: a name of a role that hangs on an output cannot be foreseen by a preview.
module access 'modules/access.bicep' = {
  scope: group
  name: 'access'
  params: {
    identityName: names.identity
    deployerPrincipalId: principalId
    deployerPrincipalType: principalType
    storageName: names.storage
    vaultId: vaultId
    insightsName: names.insights
    modelAccountName: names.model
    upstreamResourceId: checks.upstreamOf(upstreamResourceId, makesModel)
  }
  dependsOn: [identity, storage, vault, monitoring, model]
}

module network 'modules/network.bicep' = if (vnetEnabled) {
  scope: group
  name: 'network'
  params: {
    name: names.network
    endpointsName: names.endpoints
    location: location
    tags: tags
    vnetPrefix: vnetPrefix
    appSubnetPrefix: subnets.app
    endpointSubnetPrefix: subnets.endpoints
    appSubnetId: leavesBy
    endpointSubnetId: entersBy
    privateDnsZones: zones
    storageName: names.storage
    vaultName: empty(secretsIn) ? names.vault : ''
    modelAccountName: names.model
  }
  dependsOn: [storage, vault, model]
}

// After its roles, or its first start is refused by storage: it waits for an output of `access`.
module app 'modules/app.bicep' = {
  scope: group
  name: 'app'
  params: {
    name: names.app
    planName: names.plan
    location: location
    tags: tags
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    storageName: storage.outputs.name
    packagesUrl: storage.outputs.packagesUrl
    insightsConnectionString: monitoring.outputs.connectionString
    vaultUri: access.outputs.vaultUri
    subnetId: vnetEnabled ? network!.outputs.appSubnetId : ''
    isPrivate: isHidden
    zoneRedundant: zoneRedundant
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    httpConcurrency: httpConcurrency
    alwaysReady: {
      http: alwaysReadyHttp
      'function:sweep': alwaysReadySweep
      'function:run': alwaysReadyRun
    }
    upstreamBaseUrl: makesModel ? model!.outputs.baseUrl : checks.urlOf(upstreamBaseUrl)
    service: {
      upstreams: checks.fileOf(upstreams)
      upstreamKeysInVault: checks.hasKeys(upstreamKeysInVault, upstreams)
      upstreamMaxInFlight: checks.limitOf(upstreamMaxInFlight)
      upstreamMode: checks.modeOf(upstreamMode, contains(upstreamChoices, true), isListed)
      upstreamScope: upstreamScope
      upstreamHonoursIdempotencyKey: upstreamHonoursIdempotencyKey
      upstreamApiKeyInVault: checks.hasKey(upstreamApiKeyInVault, makesModel)
      upstreamWebhooks: upstreamWebhooks
      agentsModule: checks.moduleOf(agentsModule)
      responseDeadlineS: checks.deadlineOf(responseDeadlineS, upstreamMode)
      retentionS: retentionS
      streamMaxS: streamMaxS
      foregroundHoldS: foregroundHoldS
      streamHeartbeatS: streamHeartbeatS
      watch: watch
      console: console
      replyQueues: replyTo
      requestsCaller: checks.callerOf(requestsCaller)
      prices: checks.pricesOf(prices)
      otelTracesSampler: otelTracesSampler
      otelTracesSamplerArg: checks.shareOf(otelTracesSamplerArg, otelTracesSampler)
    }
    entraClientId: entraClientId
  }
}

// The last: after the app, which it leads to.
module inbound 'modules/endpoints.bicep' = if (isHidden) {
  scope: group
  name: 'inbound'
  params: {
    name: names.endpoints
    location: location
    tags: tags
    subnetId: network!.outputs.endpointSubnetId
    networkId: empty(leavesBy)
      ? resourceId(subscription().subscriptionId, names.group, 'Microsoft.Network/virtualNetworks', names.network)
      : join(take(split(leavesBy, '/'), 9), '/')
    privateDnsZones: zones
    endpoints: [
      {
        name: 'app'
        kind: 'Microsoft.Web/sites'
        resource: names.app
        group: 'sites'
        zones: [{ service: 'azurewebsites', name: 'privatelink.azurewebsites.net' }]
      }
    ]
  }
  dependsOn: [app]
}

module alerts 'modules/alerts.bicep' = {
  scope: group
  name: 'alerts'
  params: {
    name: names.alerts
    location: location
    tags: tags
    email: alertEmail
    workspaceId: monitoring.outputs.workspaceId
    insightsName: names.insights
    modelAccountName: names.model
  }
  dependsOn: [model]
}

module workbook 'modules/workbook.bicep' = {
  scope: group
  name: 'workbook'
  params: {
    name: 'Background Responses: ${environmentName}'
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    insightsName: names.insights
    responseDeadlineS: responseDeadlineS
    prices: prices
  }
}

module platformLogs 'modules/diagnostics.bicep' = if (diagnostics != 'vault') {
  scope: group
  name: 'diagnostics'
  params: {
    level: diagnostics == 'all' ? 'all' : 'audit'
    workspaceId: monitoring.outputs.workspaceId
    storageName: names.storage
    appName: names.app
    planName: names.plan
    modelAccountName: names.model
    networkName: vnetEnabled && empty(leavesBy) ? names.network : ''
    ownWorkspaceName: empty(logsTo) ? names.workspace : ''
  }
  dependsOn: [app, model, network, storage]
}

// The last: a lock stops what a deployment deletes.
module locks 'modules/locks.bicep' = if (locksEnabled) {
  scope: group
  name: 'locks'
  params: {
    storageName: names.storage
    vaultName: empty(secretsIn) ? names.vault : ''
    workspaceName: empty(logsTo) ? names.workspace : ''
  }
  dependsOn: [app, vault, monitoring]
}

output AZURE_RESOURCE_GROUP string = group.name
output AZURE_KEY_VAULT_NAME string = last(split(vaultId, '/'))
output AZURE_KEY_VAULT_ENDPOINT string = access.outputs.vaultUri
output AZURE_KEY_VAULT_RESOURCE_ID string = vaultId
output AZURE_STORAGE_ACCOUNT string = storage.outputs.name
output APP_NAME string = app.outputs.name
output APP_RESOURCE_ID string = app.outputs.id
output APP_URL string = app.outputs.url
output APP_IDENTITY_PRINCIPAL_ID string = identity.outputs.principalId
// For the hook that makes the first callers, also on a machine that has no more than the outputs. An output of the
// parameter's own name would be deleted from azd's environment by `azd down`. So AZURE_LOCATION is no output, either.
output REQUESTS_CALLER_NAME string = trim(requestsCaller)
output MODEL_DEPLOYMENT string = makesModel ? model!.outputs.deploymentName : ''
// For the hook before a deployment: an environment that has only outputs would open what is closed.
output NETWORK_IS_PRIVATE string = string(vnetEnabled)
// For the hook before `azd down`, which would delete the groups that these are in.
output ROLES_ELSEWHERE string = join(
  concat(
    empty(secretsIn) ? [] : access.outputs.vaultRoleIds,
    access.outputs.upstreamRoleIds,
    storage.outputs.keyRoleIds
  ),
  ' '
)
