// What the app would refuse, or what would do nothing, ends a deployment before it begins. Of a condition only the part that
// holds is evaluated.
import * as values from 'values.bicep'

@description('The two parts of a network that is made here, as CIDR.')
type partsType = {
  @description('For the app.')
  app: string

  @description('For private endpoints.')
  endpoints: string
}

@description('Whether a text is a host such as api.openai.com, with or without a port. An address in brackets is none.')
func isHost(text string) bool =>
  values.isOf(split(text, ':')[0], 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_') && (length(split(
    text,
    ':'
  )) == 1 || length(split(text, ':')) == 2 && values.isNumber(last(split(text, ':')), 65535))

@description('Whether a text is a URL to which paths can be added: with a host, and without what a path cannot follow.')
func isBaseUrl(text string) bool =>
  (startsWith(text, 'https://') || startsWith(text, 'http://')) && isHost(split(text, '/')[2]) && empty(filter(
    ['?', '#', ' '],
    character => contains(text, character)
  ))

@export()
@description('The base URL of the upstream.')
func urlOf(url string) string =>
  empty(url) || isBaseUrl(url)
    ? url
    : fail('UPSTREAM_BASE_URL must be a URL such as https://api.openai.com/v1, without a query')

@export()
@description('The Azure OpenAI at which the app gets its role, or nothing.')
func upstreamOf(id string, makesModel bool) string =>
  !empty(id) && makesModel
    ? fail('UPSTREAM_RESOURCE_ID needs UPSTREAM_BASE_URL or UPSTREAMS: it names the account of an upstream that is there')
    : values.idOf(id, 'UPSTREAM_RESOURCE_ID', 'Microsoft.CognitiveServices/accounts/*')

@description('Whether a text is the name of a JSON file.')
func isFile(text string) bool =>
  length(split(text, '.')) == 2 && last(split(text, '.')) == 'json' && length(text) <= 105 && values.isOf(
    split(text, '.')[0],
    'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-'
  )

@export()
@description('The file of several upstreams.')
func fileOf(file string) string =>
  empty(file) || isFile(file)
    ? file
    : fail('UPSTREAMS must be the name of a JSON file beside host.json, such as upstreams.json')

@export()
@description('The mode of the upstream. `isChosen` is whether anything is said of one that is not in the file of upstreams.')
func modeOf(mode string, isChosen bool, isListed bool) string =>
  isChosen && isListed
    ? fail('UPSTREAM_MODE, UPSTREAM_SCOPE, UPSTREAM_MAX_IN_FLIGHT and UPSTREAM_HONOURS_IDEMPOTENCY_KEY do nothing without UPSTREAM_BASE_URL where UPSTREAMS is set: say it in its file')
    : mode

@export()
@description('The most responses that the upstream works on at once.')
func limitOf(limit string) string =>
  empty(limit) || values.isNumber(limit, 100000) && int(limit) >= 1
    ? limit
    : fail('UPSTREAM_MAX_IN_FLIGHT must be a number from 1 to 100000, or empty')

@description('Whether a text can be the name of a module: letters, digits and underscores, and no digit at the beginning.')
func isName(text string) bool =>
  values.isOf(text, 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_') && !contains(
    '0123456789',
    take(text, 1)
  )

@export()
@description('The module of the agents.')
func moduleOf(name string) string =>
  empty(filter(split(name, '.'), part => !isName(part)))
    ? name
    : fail('AGENTS_MODULE must be the name of a module, such as agents')

@export()
@description('The caller of queued requests.')
func callerOf(name string) string =>
  length(trim(name)) <= 64 ? name : fail('REQUESTS_CALLER must be the name of a caller, of 1 to 64 characters')

@description('Whether a text is a price: digits, with or without a point and more digits.')
func isPrice(text string) bool =>
  length(split(text, '.')) <= 2 && empty(filter(split(text, '.'), digits => !values.isNumber(digits, 999999)))

@description('The model of a part such as gpt-5=1.25/0.125/10.')
func modelOf(part string) string => trim(join(take(split(part, '='), length(split(part, '=')) - 1), '='))

@description('Whether a part of PRICES has a model and two or three prices.')
func isPriced(part string) bool =>
  !empty(modelOf(part)) && contains([2, 3], length(split(last(split(part, '=')), '/'))) && empty(filter(
    split(last(split(part, '=')), '/'),
    price => !isPrice(trim(price))
  ))

@export()
@description('The prices of models.')
func pricesOf(list string) string =>
  !empty(filter(values.parts(list), part => !isPriced(part)))
    ? fail('PRICES must be MODEL=INPUT/CACHED/OUTPUT or MODEL=INPUT/OUTPUT, comma-separated, and ${filter(values.parts(list), part => !isPriced(part))[0]} is not')
    : length(union(map(values.parts(list), part => modelOf(part)), [])) < length(values.parts(list)) ? fail('PRICES has a model twice') : list

@description('Whether storage takes a text as the name of a queue.')
func isQueue(name string) bool =>
  values.isOf(name, 'abcdefghijklmnopqrstuvwxyz0123456789-') && length(name) >= 3 && length(name) <= 63 && !startsWith(
    name,
    '-'
  ) && !endsWith(name, '-') && !contains(name, '--')

@export()
@description('The queues that callers may name in reply_to.')
func queuesOf(list string) string =>
  empty(filter(values.parts(list), name => !contains(name, '*') && !isQueue(name)))
    ? list
    : fail('REPLY_QUEUES must be names of queues, comma-separated: 3 to 63 lower-case letters, digits and single hyphens, or a pattern with *')

@export()
@description('The name of the model. `isChosen` is whether one that is made here is said to be unusual.')
func deployedModelOf(name string, isChosen bool, makesModel bool) string =>
  isChosen && !makesModel
    ? fail('MODEL_NAME, MODEL_VERSION, MODEL_SKU and MODEL_CAPACITY do nothing where UPSTREAM_BASE_URL or UPSTREAMS is set, and must be as without being set')
    : empty(name) ? 'gpt-5-mini' : name

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
func shareOf(share string, sampler string) string =>
  sampler != 'traceidratio' && share != '1'
    ? fail('OTEL_TRACES_SAMPLER_ARG needs OTEL_TRACES_SAMPLER=traceidratio: without it all traces are kept')
    : contains(['0', '1'], share) || startsWith(share, '0.') && values.isOf(substring(share, 2), '0123456789')
        ? share
        : fail('OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1, such as 0.1')

@description('Whether a text is four numbers of an address, and the bits of a network.')
func isCidr(text string) bool =>
  length(split(text, '/')) == 2 && values.isNumber(last(split(text, '/')), 32) && length(split(split(text, '/')[0], '.')) == 4 && empty(filter(
    split(split(text, '/')[0], '.'),
    octet => !values.isNumber(octet, 255)
  ))

@description('Whether a text is a network, from its first address on.')
func isNetwork(text string) bool => isCidr(text) && parseCidr(text).network == split(text, '/')[0]

@description('Whether the network with the address of `part` and the size of `whole` is `whole`.')
func isWithin(part string, whole string) bool =>
  parseCidr(part).cidr >= parseCidr(whole).cidr && parseCidr('${split(part, '/')[0]}/${parseCidr(whole).cidr}').network == parseCidr(whole).network

@description('Whether a text is a part of a network, and not smaller than so many bits leave it.')
func isPart(text string, whole string, size int) bool =>
  isNetwork(text) && isWithin(text, whole) && parseCidr(text).cidr <= size

@export()
@description('What is said of the addresses of a network that is made here. Without a network it would do nothing.')
func addressed(said string[], vnetEnabled bool) string[] =>
  !vnetEnabled && !empty(filter(said, one => !empty(one)))
    ? fail('VNET_PREFIX, APP_SUBNET_PREFIX and ENDPOINT_SUBNET_PREFIX need VNET_ENABLED=true')
    : said

@description('The parts that are said, if they are parts.')
func saidParts(vnetPrefix string, app string, endpoints string) partsType =>
  empty(app) || empty(endpoints)
    ? fail('APP_SUBNET_PREFIX and ENDPOINT_SUBNET_PREFIX must be set together: one that is not set could lie in the other')
    : !isPart(app, vnetPrefix, 27)
        ? fail('APP_SUBNET_PREFIX must be a part of VNET_PREFIX (${vnetPrefix}) such as its first /26, a /27 or larger, and ${app} is not')
        : !isPart(endpoints, vnetPrefix, 28)
            ? fail('ENDPOINT_SUBNET_PREFIX must be a part of VNET_PREFIX (${vnetPrefix}) such as its third /27, a /28 or larger, and ${endpoints} is not')
            : isWithin(app, endpoints) || isWithin(endpoints, app)
                ? fail('APP_SUBNET_PREFIX and ENDPOINT_SUBNET_PREFIX must not overlap')
                : { app: app, endpoints: endpoints }

@export()
@description('The parts of a network for the app and for endpoints: those that are said, or those that follow from its address space.')
func partsOf(vnetPrefix string, app string, endpoints string) partsType =>
  !isNetwork(vnetPrefix)
    ? fail('VNET_PREFIX must be a network such as 10.84.0.0/24, and ${vnetPrefix} is not')
    : !empty(app) || !empty(endpoints)
        ? saidParts(vnetPrefix, app, endpoints)
        : parseCidr(vnetPrefix).cidr <= 25
            ? { app: cidrSubnet(vnetPrefix, 26, 0), endpoints: cidrSubnet(vnetPrefix, 27, 2) }
            : fail('VNET_PREFIX must be a /25 or larger where APP_SUBNET_PREFIX and ENDPOINT_SUBNET_PREFIX are not set')

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
