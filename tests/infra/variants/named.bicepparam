// Names, tags and addresses as a landing zone wants them.
using '../../../infra/main.bicep'

param environmentName = 'named'
param location = 'westeurope'
param principalId = '00000000-0000-0000-0000-000000000009'
param vnetEnabled = true
param vnetPrefix = '10.30.4.128/25'
param appSubnetPrefix = '10.30.4.192/26'
param endpointSubnetPrefix = '10.30.4.176/28'
param alertEmail = 'on-call@example.com'
param resourceTags = 'cost-center=4711, Owner = Platform=A,data-class=internal,'
param resourceNames = 'group=rg-br-prd-weu-001, identity=id-br-prd-weu-001, keyIdentity=id-br-key-weu-001, workspace=log-br-prd-weu-001, insights=appi-br-prd-weu-001, storage=stbrprdweu001, vault=kv-br-prd-weu-001, model=oai-br-prd-weu-001, network=vnet-br-prd-weu-001, endpoints=pep-br-prd-weu-001, plan=asp-br-prd-weu-001, app=func-br-prd-weu-001, alerts=alr-br'
param diagnostics = 'all'
param customerKeyId = '/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg-keys/providers/Microsoft.KeyVault/vaults/kv-keys/keys/storage'
