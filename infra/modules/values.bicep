// How values of `azd env set` that hold more than one thing are read. What is wrong with one ends a deployment before it begins.

@export()
@description('The parts of a comma-separated list, without blanks and empty ones.')
func parts(list string) string[] => filter(map(split(list, ','), part => trim(part)), part => !empty(part))

@export()
@description('Whether a text has at least one character, and none but these.')
func isOf(text string, characters string) bool =>
  !empty(text) && empty(filter(range(0, length(text)), place => !contains(characters, substring(text, place, 1))))

@export()
@description('Whether a text is a whole number from 0 to this one, in at most six digits.')
func isNumber(text string, most int) bool => isOf(text, '0123456789') && length(text) <= 6 && int(text) <= most

@export()
@description('The values of a list such as A=1,B=2, by name. Of each part the first = counts.')
func pairs(list string, variable string) { *: string } =>
  toObject(
    parts(list),
    part =>
      contains(part, '=') ? trim(split(part, '=')[0]) : fail('${variable} must be NAME=VALUE,…, and ${part} is not'),
    part => trim(join(skip(split(part, '='), 1), '='))
  )

@description('Whether Azure takes a tag: storage has the strictest limits.')
func isTag(name string, value string) bool =>
  length(name) >= 1 && length(name) <= 128 && length(value) <= 256 && empty(filter(
    ['<', '>', '%', '&', '\\', '?', '/'],
    character => contains(name, character)
  ))

@export()
@description('The tags that RESOURCE_TAGS gives, beside those that azd and the invoices need.')
func tagsOf(list string) { *: string } =>
  length(parts(list)) > 47
    ? fail('RESOURCE_TAGS may have at most 47 tags: Azure takes 50, and three are set here')
    : toObject(
        items(pairs(list, 'RESOURCE_TAGS')),
        tag =>
          contains(['azd-env-name', 'azd-service-name', 'application'], toLower(tag.key))
            ? fail('RESOURCE_TAGS must not have ${tag.key}, which is set here')
            : isTag(tag.key, tag.value)
                ? tag.key
                : fail('RESOURCE_TAGS has a tag ${tag.key}: a name has 1 to 128 characters without <>%&\\?/, a value at most 256'),
        tag => tag.value
      )

@description('Whether a private DNS zone takes a tag of this name. Azure leaves out others without a word.')
func isOfZone(name string) bool =>
  isOf(toLower(name), 'abcdefghijklmnopqrstuvwxyz0123456789-_.') && !isOf(substring(name, 0, 1), '0123456789')

@export()
@description('Those of all tags that a private DNS zone and its links take.')
func tagsOfZone(tags { *: string }) { *: string } =>
  length(filter(objectKeys(tags), name => isOfZone(name))) > 15
    ? fail('RESOURCE_TAGS may have at most 13 tags where private DNS zones are made: Azure takes 15 there, and two are set here')
    : toObject(filter(items(tags), tag => isOfZone(tag.key)), tag => tag.key, tag => tag.value)

@export()
@description('The names that RESOURCE_NAMES gives to some of the resources that are made.')
func namesOf(list string, made string[]) { *: string } =>
  toObject(
    items(pairs(list, 'RESOURCE_NAMES')),
    one =>
      contains(made, one.key) && !empty(one.value)
        ? one.key
        : fail('RESOURCE_NAMES may name ${join(made, ', ')} here, and not ${one.key} or nothing'),
    one => one.value
  )

@description('Whether a text has the parts of a resource id, such as /subscriptions/*/resourceGroups/*. A * is any name.')
func isLike(text string, form string) bool =>
  length(split(text, '/')) == length(split(form, '/'))
    ? empty(filter(
        range(0, length(split(form, '/'))),
        place =>
          split(form, '/')[place] == '*'
            ? empty(split(text, '/')[place])
            : toLower(split(form, '/')[place]) != toLower(split(text, '/')[place])
      ))
    : false

@export()
@description('A resource id of a kind such as Microsoft.KeyVault/vaults/*, or nothing.')
func idOf(id string, variable string, kind string) string =>
  empty(id) || isLike(id, '/subscriptions/*/resourceGroups/*/providers/${kind}')
    ? id
    : fail('${variable} must be /subscriptions/ID/resourceGroups/NAME/providers/${replace(kind, '*', 'NAME')}')

@export()
@description('An id of a subnet that is there, or nothing where a network is made. `made` is what is said about that one.')
func subnetOf(id string, other string, variable string, vnetEnabled bool, made string[]) string =>
  empty(id) && empty(other)
    ? ''
    : empty(id) || empty(other) || toLower(id) == toLower(other)
        ? fail('APP_SUBNET_ID and ENDPOINT_SUBNET_ID must be set together, to two subnets: the app\'s takes nothing else')
        : !vnetEnabled
            ? fail('APP_SUBNET_ID and ENDPOINT_SUBNET_ID need VNET_ENABLED=true')
            : !empty(filter(made, prefix => !empty(prefix)))
                ? fail('VNET_PREFIX, APP_SUBNET_PREFIX and ENDPOINT_SUBNET_PREFIX do nothing where APP_SUBNET_ID names a subnet that is there')
                : idOf(id, variable, 'Microsoft.Network/virtualNetworks/*/subnets/*')

@description('Whether a part of PRIVATE_DNS_ZONES is a resource group.')
func isGroup(id string) bool => isLike(id, '/subscriptions/*/resourceGroups/*')

@description('Whether a part of PRIVATE_DNS_ZONES is a zone.')
func isZone(id string) bool =>
  isLike(id, '/subscriptions/*/resourceGroups/*/providers/Microsoft.Network/privateDnsZones/*')

@export()
@description('The zones that are there: nothing, the word policy, or a list of zones with at most one group for the others.')
func zonesOf(zones string, vnetEnabled bool) string =>
  empty(zones) || (zones == 'policy' && vnetEnabled)
    ? zones
    : !vnetEnabled
        ? fail('PRIVATE_DNS_ZONES needs VNET_ENABLED=true')
        : !empty(filter(parts(zones), id => !isGroup(id) && !isZone(id))) || length(filter(
              parts(zones),
              id => isGroup(id)
            )) > 1
            ? fail('PRIVATE_DNS_ZONES must be policy, or ids of private DNS zones and at most one resource group, comma-separated')
            : zones

@description('The zones that are listed for a service such as blob.')
func zonesFor(zones string, service string) string[] =>
  filter(parts(zones), id => isZone(id) && contains(toLower(id), '/privatednszones/privatelink.${service}.'))

@export()
@description('The id of a zone that is there: the one that is listed for its service, or one in the group of all others.')
func zoneId(zones string, service string, name string) string =>
  !empty(zonesFor(zones, service))
    ? zonesFor(zones, service)[0]
    : empty(filter(parts(zones), id => isGroup(id)))
        ? fail('PRIVATE_DNS_ZONES has no zone privatelink.${service}, and no resource group in which it is')
        : '${filter(parts(zones), id => isGroup(id))[0]}/providers/Microsoft.Network/privateDnsZones/${name}'
