// Closed on all sides, in a network and zones that are made here.
using '../../../infra/main.bicep'

param environmentName = 'hidden'
param location = 'westeurope'
param principalId = '00000000-0000-0000-0000-000000000009'
param vnetEnabled = true
param privateInbound = true
