// What `azd up` makes where nothing is set: a model of its own, open to Entra tokens.
using '../../../infra/main.bicep'

param environmentName = 'prod'
param location = 'swedencentral'
param principalId = '00000000-0000-0000-0000-000000000009'
