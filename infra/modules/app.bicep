// The app on Flex Consumption. The list of settings is complete: a deployment replaces all of them.
@description('Name of the app. Locks and keys in storage go by its first 32 characters, so it has no more.')
@minLength(2)
@maxLength(32)
param name string

@description('Name of its plan.')
param planName string

@description('Region.')
param location string

@description('Tags of every resource; the app has azd-service-name besides.')
param tags { *: string }

@description('The identity, as a resource.')
param identityId string

@description('The identity, as what asks for tokens.')
param identityClientId string

@description('The storage account.')
param storageName string

@description('Where the deployment package lies.')
param packagesUrl string

@description('Application Insights: where to send, not a right to.')
param insightsConnectionString string

@description('The vault.')
param vaultUri string

@description('The subnet by which the app leaves; empty for none.')
param subnetId string

@description('Whether the app is reached by a private endpoint only, and deployed to by nobody outside.')
param isPrivate bool

@description('Whether instances are spread over zones.')
param zoneRedundant bool

@description('Memory of an instance.')
@allowed([2048, 4096])
param instanceMemoryMB int

@description('The most instances of each group; a cap on what can be spent.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int

@description('HTTP requests that one instance serves at once. The platform\'s default for Python is 1: an instance for each open stream.')
@minValue(1)
@maxValue(1000)
param httpConcurrency int

@description('Instances of each scaling group that are always there, paid by the hour.')
param alwaysReady { *: int }

@description('The upstream.')
param upstreamBaseUrl string

@description('The values of the app settings. docs/settings.md explains each.')
param service serviceSettings

@description('The app registration whose tokens are asked for before a request reaches the app; empty for none.')
param entraClientId string

@description('What each of the app\'s plain settings is.')
type serviceSettings = {
  upstreams: string
  upstreamKeysInVault: bool
  upstreamMaxInFlight: string
  upstreamMode: string
  upstreamScope: string
  upstreamHonoursIdempotencyKey: bool
  upstreamApiKeyInVault: bool
  upstreamWebhooks: bool
  agentsModule: string
  responseDeadlineS: int
  retentionS: int
  streamMaxS: int
  foregroundHoldS: int
  streamHeartbeatS: int
  watch: bool
  console: bool
  replyQueues: string
  requestsCaller: string
  prices: string
  otelTracesSampler: string
  otelTracesSamplerArg: string
}

// `azd` writes these secrets (azure.yaml) or operators do (docs/operations.md). Without a version: a new one is taken
// within a day, or at once by a refresh. A secret that is not there leaves the reference's text, which the app refuses.
var callersReference = '@Microsoft.KeyVault(SecretUri=${vaultUri}secrets/callers)'
var upstreamKeyReference = '@Microsoft.KeyVault(SecretUri=${vaultUri}secrets/upstream-api-key)'
var upstreamKeysReference = '@Microsoft.KeyVault(SecretUri=${vaultUri}secrets/upstream-keys)'
var webhookReference = '@Microsoft.KeyVault(SecretUri=${vaultUri}secrets/upstream-webhook-secret)'

var hostSettings = [
  {
    name: 'AzureWebJobsStorage__accountName'
    value: storageName
  }
  {
    name: 'AzureWebJobsStorage__credential'
    value: 'managedidentity'
  }
  {
    name: 'AzureWebJobsStorage__clientId'
    value: identityClientId
  }
  {
    name: 'AZURE_CLIENT_ID'
    value: identityClientId
  }
  {
    name: 'APPLICATIONINSIGHTS_CONNECTION_STRING'
    value: insightsConnectionString
  }
  {
    name: 'APPLICATIONINSIGHTS_AUTHENTICATION_STRING'
    value: 'ClientId=${identityClientId};Authorization=AAD'
  }
  {
    name: 'TELEMETRY'
    value: 'azure'
  }
  {
    // Never one by the caller's trace: the front end and the host mark all as not recorded (open-telemetry/opentelemetry-js#3057).
    name: 'OTEL_TRACES_SAMPLER'
    value: service.otelTracesSampler
  }
  {
    name: 'OTEL_TRACES_SAMPLER_ARG'
    value: service.otelTracesSamplerArg
  }
  {
    // An instance may be gone a minute after its last request: its figures go before.
    name: 'OTEL_METRIC_EXPORT_INTERVAL'
    value: '15000'
  }
  {
    // The exporter's own reports to Microsoft, and what it asks there about itself.
    name: 'APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL'
    value: 'true'
  }
  {
    name: 'APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED'
    value: 'true'
  }
  {
    // Without it the streaming extension hangs on every HTTP request, up to Python 3.12.
    name: 'PYTHON_ENABLE_INIT_INDEXING'
    value: '1'
  }
  {
    // The path / is then the app's own 404, not the platform's page.
    name: 'AzureWebJobsDisableHomepage'
    value: 'true'
  }
]

var plainSettings = [
  {
    name: 'UPSTREAM_BASE_URL'
    value: upstreamBaseUrl
  }
  {
    name: 'UPSTREAM_MODE'
    value: service.upstreamMode
  }
  {
    name: 'UPSTREAM_SCOPE'
    value: service.upstreamScope
  }
  {
    name: 'UPSTREAM_HONOURS_IDEMPOTENCY_KEY'
    value: string(service.upstreamHonoursIdempotencyKey)
  }
  {
    name: 'AGENTS_MODULE'
    value: service.agentsModule
  }
  {
    name: 'RESPONSE_DEADLINE_S'
    value: string(service.responseDeadlineS)
  }
  {
    name: 'RETENTION_S'
    value: string(service.retentionS)
  }
  {
    name: 'STREAM_MAX_S'
    value: string(service.streamMaxS)
  }
  {
    name: 'FOREGROUND_HOLD_S'
    value: string(service.foregroundHoldS)
  }
  {
    name: 'STREAM_HEARTBEAT_S'
    value: string(service.streamHeartbeatS)
  }
  {
    name: 'WATCH'
    value: string(service.watch)
  }
  {
    name: 'CONSOLE'
    value: string(service.console)
  }
  {
    name: 'REPLY_QUEUES'
    value: service.replyQueues
  }
  {
    name: 'REQUESTS_CALLER'
    value: service.requestsCaller
  }
  {
    name: 'UPSTREAM_MAX_IN_FLIGHT'
    value: service.upstreamMaxInFlight
  }
  {
    name: 'UPSTREAMS'
    value: service.upstreams
  }
  {
    name: 'PRICES'
    value: service.prices
  }
  {
    name: 'CALLERS'
    value: callersReference
  }
]

var upstreamKeySettings = [
  {
    name: 'UPSTREAM_API_KEY'
    value: upstreamKeyReference
  }
]

var upstreamKeysSettings = [
  {
    name: 'UPSTREAM_KEYS'
    value: upstreamKeysReference
  }
]

var webhookSettings = [
  {
    name: 'UPSTREAM_WEBHOOK_SECRET'
    value: webhookReference
  }
]

resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
    zoneRedundant: zoneRedundant
  }
}

resource site 'Microsoft.Web/sites@2024-11-01' = {
  name: name
  location: location
  tags: { ...tags, 'azd-service-name': 'app' }
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packagesUrl
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: {
        name: 'python'
        version: '3.12'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: map(filter(items(alwaysReady), group => group.value > 0), group => {
          name: group.key
          instanceCount: group.value
        })
        triggers: {
          http: {
            perInstanceConcurrency: httpConcurrency
          }
        }
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      http20Enabled: true
      appSettings: [
        ...hostSettings
        ...plainSettings
        ...(service.upstreamApiKeyInVault ? upstreamKeySettings : [])
        ...(service.upstreamKeysInVault ? upstreamKeysSettings : [])
        ...(service.upstreamWebhooks ? webhookSettings : [])
      ]
    }
  }
}

resource noFtp 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: site
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource noPasswords 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: site
  name: 'scm'
  properties: {
    allow: false
  }
}

// A gate before the app: callers bring an Entra token in Authorization, and their key in api-key. The upstream's
// webhooks have a signature of their own, and probes bring nothing. It is there also where it is open, because a
// deployment leaves alone what it does not name: a gate that is left out would stay closed.
resource gate 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: site
  name: 'authsettingsV2'
  properties: empty(entraClientId)
    ? {
        platform: {
          enabled: false
        }
        globalValidation: {
          requireAuthentication: false
          unauthenticatedClientAction: 'AllowAnonymous'
        }
        login: {
          tokenStore: {
            enabled: false
          }
        }
      }
    : {
        platform: {
          enabled: true
        }
        globalValidation: {
          requireAuthentication: true
          unauthenticatedClientAction: 'Return401'
          excludedPaths: [
            '/health/live'
            '/health/ready'
            '/health/upstream'
            '/webhooks/upstream'
          ]
        }
        httpSettings: {
          requireHttps: true
        }
        identityProviders: {
          azureActiveDirectory: {
            enabled: true
            registration: {
              clientId: entraClientId
              openIdIssuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
            }
            validation: {
              allowedAudiences: [
                entraClientId
                'api://${entraClientId}'
              ]
            }
          }
        }
        login: {
          tokenStore: {
            enabled: false
          }
        }
      }
}

output id string = site.id
output name string = site.name
output url string = 'https://${site.properties.defaultHostName}'
