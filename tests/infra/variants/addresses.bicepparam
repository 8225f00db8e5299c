// A network with addresses of its own, without a model, and lists as people write them: doubled, with commas and blanks.
using '../../../infra/main.bicep'

param environmentName = 'addr'
param location = 'swedencentral'
param principalId = '00000000-0000-0000-0000-000000000009'
param upstreamBaseUrl = 'https://res.openai.azure.com/openai/v1'
param replyQueues = ' answers,answers , nudges,,results-*, runs-poison,'
param vnetEnabled = true
param vnetPrefix = '10.20.16.0/20'
param operatorIpRanges = '203.0.113.7,'
