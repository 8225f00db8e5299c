// The most that the platform gives: zones, instances that are always there, 4 GB, 1,000 instances.
using '../../../infra/main.bicep'

param environmentName = 'large'
param location = 'westeurope'
param principalId = '00000000-0000-0000-0000-000000000009'
param upstreamBaseUrl = 'https://res.openai.azure.com/openai/v1'
param instanceMemoryMB = 4096
param maximumInstanceCount = 1000
param httpConcurrency = 1000
param alwaysReadyHttp = 20
param zoneRedundant = true
param storageSku = 'Standard_ZRS'
param logDailyLimitGb = -1
param logRetentionDays = 730
