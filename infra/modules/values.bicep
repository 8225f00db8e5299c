// How values of `azd env set` that hold more than one thing are read. What is wrong with one ends a deployment before it begins.

@export()
@description('The parts of a comma-separated list, without blanks and empty ones.')
func parts(list string) string[] => filter(map(split(list, ','), part => trim(part)), part => !empty(part))

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
