// Nobody is signed in who could write secrets. Several upstreams, of which the vault has the keys.
using '../../../infra/main.bicep'

param environmentName = 'prod'
param location = 'swedencentral'
param upstreams = 'upstreams.json'
param upstreamKeysInVault = true
