// A pipeline, the longest names, and a trial that comes back after `azd down`.
using '../../../infra/main.bicep'

param environmentName = 'e234567890123456789012345678901234567890123456789012345678901234'
param location = 'australiasoutheast'
param principalId = '00000000-0000-0000-0000-000000000008'
param principalType = 'ServicePrincipal'
param vaultPurgeProtection = false
param vaultRecover = true
param modelRecover = true
