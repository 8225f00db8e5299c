// An upstream elsewhere, reached with the app's identity.
using '../../../infra/main.bicep'

param environmentName = 'prod'
param location = 'westeurope'
param principalId = '00000000-0000-0000-0000-000000000009'
param upstreamBaseUrl = 'https://res.openai.azure.com/openai/v1'
param upstreamHonoursIdempotencyKey = true
