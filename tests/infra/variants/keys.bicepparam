// An upstream with a key and webhooks, without background mode. Every plain setting has a value of its own.
using '../../../infra/main.bicep'

param environmentName = 'keys'
param location = 'westeurope'
param principalId = '00000000-0000-0000-0000-000000000009'
param upstreamBaseUrl = 'https://api.example.com/v1'
param upstreamApiKeyInVault = true
param upstreamWebhooks = true
param upstreamMode = 'foreground'
param upstreamScope = 'https://ai.example.com/.default'
param upstreamMaxInFlight = '77'
param agentsModule = 'clerks.agents'
param responseDeadlineS = 20001
param retentionS = 86402
param streamMaxS = 1203
param foregroundHoldS = 74
param streamHeartbeatS = 16
param watch = false
param replyQueues = 'answers'
param requestsCaller = 'batch'
param prices = 'gpt-5=1.25/0.125/10'
param otelTracesSampler = 'traceidratio'
param otelTracesSamplerArg = '0.25'
param alertEmail = 'on-call@example.com'
