// A network, and nobody outside of it who may write secrets.
using '../../../infra/main.bicep'

param environmentName = 'net'
param location = 'swedencentral'
param principalId = '00000000-0000-0000-0000-000000000009'
param vnetEnabled = true
param resourceTags = 'Cost Center=4711, 2nd=x, owner_1=platform'
