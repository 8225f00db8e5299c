// What the app would refuse, or what would do nothing, ends a deployment before it begins. Of a condition only the part that
// holds is evaluated.
import * as values from 'values.bicep'

@export()
@description('The base URL of the upstream.')
func urlOf(url string) string =>
  empty(url) || startsWith(url, 'https://') || startsWith(url, 'http://')
    ? url
    : fail('UPSTREAM_BASE_URL must be a URL such as https://api.openai.com/v1')

@export()
@description('The most responses that the upstream works on at once.')
func limitOf(limit string) string =>
  empty(limit)
    ? limit
    : int(limit) >= 1 && int(limit) <= 100000
        ? limit
        : fail('UPSTREAM_MAX_IN_FLIGHT must be a number from 1 to 100000, or empty')

@export()
@description('Seconds after which an unfinished response fails.')
func deadlineOf(seconds int, mode string) int =>
  mode == 'foreground' && seconds > 21000
    ? fail('RESPONSE_DEADLINE_S must be at most 21000 where UPSTREAM_MODE is foreground')
    : seconds

@export()
@description('Whether the vault holds the upstream\'s key.')
func hasKey(isSaid bool, makesModel bool) bool =>
  isSaid && makesModel
    ? fail('UPSTREAM_API_KEY_IN_VAULT needs UPSTREAM_BASE_URL or UPSTREAMS: a model that is deployed here has no key')
    : isSaid

@export()
@description('Whether the vault holds the secrets of several upstreams.')
func hasKeys(isSaid bool, upstreams string) bool =>
  isSaid && empty(upstreams) ? fail('UPSTREAM_KEYS_IN_VAULT needs UPSTREAMS') : isSaid

@export()
@description('Whether the model account comes back.')
func recoversModel(isSaid bool, makesModel bool) bool =>
  isSaid && !makesModel
    ? fail('MODEL_RECOVER needs a deployment with a model of its own, without UPSTREAM_BASE_URL and UPSTREAMS')
    : isSaid

@export()
@description('The addresses from which operators write secrets.')
func addressesOf(list string, vnetEnabled bool) string[] =>
  !vnetEnabled && !empty(values.parts(list))
    ? fail('OPERATOR_IP_RANGES needs VNET_ENABLED=true: without a network the vault is open to every address')
    : values.parts(list)

@export()
@description('The share of the traces that are kept.')
func shareOf(share string) string =>
  contains(['0', '1'], share)
    ? share
    : startsWith(share, '0.') && int(substring(share, 2)) >= 0
        ? share
        : fail('OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1, such as 0.1')

@export()
@description('A part of the network: the one that is said, or one that follows from its address space.')
func partOf(said string, vnetPrefix string, size int, place int) string =>
  !empty(said)
    ? said
    : int(last(split(vnetPrefix, '/'))) <= 25
        ? cidrSubnet(vnetPrefix, size, place)
        : fail('VNET_PREFIX must be a /25 or larger where APP_SUBNET_PREFIX or ENDPOINT_SUBNET_PREFIX is not set')

@export()
@description('Whether the app is reached by a private endpoint only.')
func isHidden(isSaid bool, vnetEnabled bool) bool =>
  isSaid && !vnetEnabled
    ? fail('PRIVATE_INBOUND needs VNET_ENABLED=true: without a network nobody could reach the app')
    : isSaid

@export()
@description('The workspace that is there, or nothing. `isChosen` is whether one that is made here is said to be unusual.')
func workspaceOf(id string, isChosen bool) string =>
  !empty(id) && isChosen
    ? fail('LOG_RETENTION_DAYS and LOG_DAILY_LIMIT_GB do nothing where WORKSPACE_ID names a workspace that is there')
    : values.idOf(id, 'WORKSPACE_ID', 'Microsoft.OperationalInsights/workspaces/*')

@export()
@description('The vault that is there, or nothing. `isChosen` is whether one that is made here is said to be unusual.')
func vaultOf(id string, isChosen bool) string =>
  !empty(id) && isChosen
    ? fail('VAULT_RECOVER, VAULT_PURGE_PROTECTION and OPERATOR_IP_RANGES do nothing where KEY_VAULT_ID names a vault that is there')
    : values.idOf(id, 'KEY_VAULT_ID', 'Microsoft.KeyVault/vaults/*')
