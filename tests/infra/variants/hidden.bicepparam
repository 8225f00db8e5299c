// Closed on all sides, in a network and zones that are made here. Metrics and audits, locks, and a key.
using '../../../infra/main.bicep'

param environmentName = 'hidden'
param location = 'westeurope'
param principalId = '00000000-0000-0000-0000-000000000009'
param vnetEnabled = true
param privateInbound = true
param diagnostics = 'audit'
param locksEnabled = true
param customerKeyId = '/subscriptions/00000000-0000-0000-0000-000000000003/resourceGroups/rg-keys/providers/Microsoft.KeyVault/vaults/kv-keys/keys/storage'
