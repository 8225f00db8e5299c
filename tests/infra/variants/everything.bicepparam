// All that can be on together: a model, a network with operators, a gate, people who are told.
using '../../../infra/main.bicep'

param environmentName = 'all'
param location = 'swedencentral'
param principalId = '00000000-0000-0000-0000-000000000009'
param principalType = 'Group'
param upstreamWebhooks = true
param modelName = 'gpt-5'
param modelVersion = '2025-08-07'
param modelSku = 'DataZoneStandard'
param modelCapacity = 60
param requestsCaller = 'batch'
param console = true
param retentionS = 86402
param streamMaxS = 1203
param replyQueues = 'answers, results-*'
param httpConcurrency = 120
param alwaysReadyHttp = 2
param alwaysReadySweep = 1
param alwaysReadyRun = 3
param zoneRedundant = true
param storageSku = 'Standard_ZRS'
param vnetEnabled = true
param operatorIpRanges = '203.0.113.7, 198.51.100.0/28'
param entraClientId = '00000000-0000-0000-0000-000000000005'
param logRetentionDays = 90
param logDailyLimitGb = 20
param alertEmail = 'on-call@example.com'
