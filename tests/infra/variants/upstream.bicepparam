// An Azure OpenAI of another subscription, reached with the app's identity.
using '../../../infra/main.bicep'

param environmentName = 'prod'
param location = 'westeurope'
param principalId = '00000000-0000-0000-0000-000000000009'
param upstreamBaseUrl = 'https://res.openai.azure.com/openai/v1'
param upstreamHonoursIdempotencyKey = true
param upstreamResourceId = '/subscriptions/00000000-0000-0000-0000-000000000007/resourceGroups/rg-ai/providers/Microsoft.CognitiveServices/accounts/res'
