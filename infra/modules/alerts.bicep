// What somebody should be told, and by which signals. docs/operations.md says what each alert means and what to do.
@description('The first part of the alerts\' names.')
param name string

@description('Region.')
param location string

@description('Tags of every resource.')
param tags { *: string }

@description('Whom to write to; empty for nobody, then alerts are only seen in the portal.')
param email string

@description('The workspace whose logs are asked.')
param workspaceId string

@description('Name of Application Insights. Only its rows count, because a workspace may be shared.')
param insightsName string

@description('The model account; empty if there is none.')
param modelAccountName string

// An alert counts what its rows stand for: ItemCount is more than 1 where Application Insights or the app's own sampler
// has left rows out. The rows of metrics are never sampled, and each is one; there ItemCount is the number of values. `silent`
// only asks whether there is a row.
// Every name that an alert rests on is in this table. Log lines are JSON objects; the event is one of their members.
@export()
@description('The names that queries rest on.')
var signals = {
  // metrics (customMetrics, here AppMetrics)
  overdueMetric: 'background_responses.alarms.overdue'
  // log events (lines of standard output, here AppTraces). The platform gives all of them one level, so each says its own
  missed: ['heartbeat.missed', 'heartbeat.failed', 'sweep.cut_short', 'sweep.storage_failed']
  attempted: 'delivery.attempted'
  breaker: 'breaker.opened'
  poison: [
    'poison.rearmed'
    'poison.unreadable'
    'poison.unread'
    'poison.unhandled'
    'nudge.unreadable'
    'run.unreadable'
  ]
  faults: [
    'alarm.given_up'
    'alarm.failed'
    'alarm.unreadable'
    'alarm.immovable'
    'watch.failed'
    'leases.failed'
    'run.given_up'
    'run.failed'
    'call.failed'
    'tail.failed'
    'start.abandoned'
    'start.unstopped'
    'stop.given_up'
    'request.failed'
    'answer.failed'
    'settings.wrong'
    'telemetry.failed'
    'delivery.unrecorded'
    'upstream.credentials_refused'
    'upstream.redirected'
    'upstream.background_refused'
    'agents.broken'
    'row.unreadable'
    'gate.unreadable'
    'erasure.unreadable'
    'end.unstorable'
  ]
  deferred: ['start.deferred', 'poll.deferred', 'run.deferred']
  // tries after which nothing waits for the upstream: another one got the response, or it has ended
  refused: ['start.rerouted', 'upstream.create_refused']
  // once a minute for each gate that is closed, over all instances. Then hardly any try meets the upstream
  closed: 'gate.closed'
  throttled: 'rate_limit'
  down: ['upstream_down', 'credentials']
  failing: 'callbacks.failing'
  ended: ['failed', 'blocked']
  // what libraries tell and what nobody catches, where it is an error
  library: 'library'
  error: 'error'
  // functions whose runs are seen (requests, here AppRequests), as the platform tells of them
  timer: 'heartbeat'
  // the role under which the app tells of requests itself. The platform also counts a client that left as 500
  role: 'background-responses'
  // words of the platform
  givenUp: 'MaxDequeueCount'
}

var missed = '"${join(signals.missed, '", "')}"'
var poison = '"${join(signals.poison, '", "')}"'
var faults = '"${join(signals.faults, '", "')}"'
var troubled = [...signals.deferred, ...signals.refused, signals.closed]
var unserved = '"${join(troubled, '", "')}"'
var down = '"${join(signals.down, '", "')}"'
var ended = '"${join(signals.ended, '", "')}"'

@export()
@description('A line of the app as an object.')
var lines = 'AppTraces | where Message startswith "{" | extend line = parse_json(Message) | extend event = tostring(line.event), level = tostring(line.level)'

@export()
@description('A query that leaves out the rows of every other Application Insights.')
func ofOne(query string, insightsId string) string =>
  string(reduce(
    ['AppTraces', 'AppMetrics', 'AppRequests', 'AppDependencies'],
    query,
    (found, table) => replace(string(found), '${table} | ', '${table} | where _ResourceId =~ "${insightsId}" | ')
  ))

var overdueQuery = 'AppMetrics | where Name == "${signals.overdueMetric}" | where Max > 120 | project TimeGenerated, ItemCount = int(1) | union (${lines} | where event in (${missed}) | project TimeGenerated, ItemCount)'
var silentQuery = 'AppRequests | where Name == "${signals.timer}" | summarize Runs = count()'
var failedQuery = '${lines} | where event == "${signals.attempted}" | where tostring(line.state) in (${ended})'
var breakerQuery = '${lines} | where event == "${signals.breaker}"'
var poisonQuery = '${lines} | where event in (${poison}) | union (AppTraces | where Message has "${signals.givenUp}")'
var faultsQuery = '${lines} | where event in (${faults})'
var libraryQuery = '${lines} | where event == "${signals.library}" | where level == "${signals.error}"'
// A minute at a closed gate counts as four refused tries. So one that stays closed is told after six minutes.
var throttledQuery = '${lines} | where event in (${unserved}) | where tostring(line.waits_for) == "${signals.throttled}" | project TimeGenerated, ItemCount = ItemCount * iff(event == "${signals.closed}", 4, 1)'
var downQuery = '${lines} | where event in (${unserved}) | where tostring(line.waits_for) in (${down})'
var failingQuery = '${lines} | where event == "${signals.failing}"'
var refusedQuery = 'AppRequests | where AppRoleName == "${signals.role}" | where toint(ResultCode) >= 500 | where Url !has "/health/"'

var rules = [
  {
    id: 'overdue'
    severity: 1
    description: 'Due work is late: an alarm is overdue by more than two minutes, or sweeps fail.'
    query: overdueQuery
    window: 'PT5M'
    operator: 'GreaterThan'
    threshold: 2
    column: 'ItemCount'
  }
  {
    id: 'silent'
    severity: 1
    description: 'The timer that everything rests on has not been seen for a quarter of an hour, or logs are not taken in.'
    query: silentQuery
    window: 'PT15M'
    operator: 'LessThan'
    threshold: 1
    column: 'Runs'
  }
  {
    id: 'upstream-down'
    severity: 1
    description: 'The upstream cannot be reached, answers with errors, or refuses the credentials: responses wait, fail, or go elsewhere.'
    query: downQuery
    window: 'PT5M'
    operator: 'GreaterThan'
    threshold: 2
    column: 'ItemCount'
  }
  {
    id: 'faults'
    severity: 1
    description: 'The service met what it has no answer for.'
    query: faultsQuery
    window: 'PT15M'
    operator: 'GreaterThan'
    threshold: 0
    column: 'ItemCount'
  }
  {
    id: 'uncaught'
    severity: 2
    description: 'A library failed, or nobody caught an exception.'
    query: libraryQuery
    window: 'PT15M'
    operator: 'GreaterThan'
    threshold: 0
    column: 'ItemCount'
  }
  {
    id: 'refused'
    severity: 2
    description: 'Callers are answered 5xx.'
    query: refusedQuery
    window: 'PT15M'
    operator: 'GreaterThan'
    threshold: 10
    column: 'ItemCount'
  }
  {
    id: 'deliveries-failed'
    severity: 2
    description: 'Deliveries were given up: their receivers do not have their events.'
    query: failedQuery
    window: 'PT15M'
    operator: 'GreaterThan'
    threshold: 0
    column: 'ItemCount'
  }
  {
    id: 'callbacks-failing'
    severity: 2
    description: 'Four callbacks in a row to one host have failed.'
    query: failingQuery
    window: 'PT15M'
    operator: 'GreaterThan'
    threshold: 0
    column: 'ItemCount'
  }
  {
    id: 'breaker-open'
    severity: 3
    description: 'A receiver is in trouble; deliveries to its host wait.'
    query: breakerQuery
    window: 'PT15M'
    operator: 'GreaterThan'
    threshold: 0
    column: 'ItemCount'
  }
  {
    id: 'poison'
    severity: 2
    description: 'A trigger gave a message up five times.'
    query: poisonQuery
    window: 'PT15M'
    operator: 'GreaterThan'
    threshold: 0
    column: 'ItemCount'
  }
  {
    id: 'throttled'
    severity: 2
    description: 'The upstream answers 429: responses begin and end later.'
    query: throttledQuery
    window: 'PT15M'
    operator: 'GreaterThan'
    threshold: 20
    column: 'ItemCount'
  }
]

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(email)) {
  name: '${name}-people'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'background'
    emailReceivers: [
      {
        name: 'operators'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

resource alerts 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for rule in rules: {
    name: '${name}-${rule.id}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: '${name}: ${rule.id}'
      description: rule.description
      severity: rule.severity
      enabled: true
      scopes: [workspaceId]
      evaluationFrequency: 'PT5M'
      windowSize: rule.window
      autoMitigate: true
      skipQueryValidation: true // a workspace that is new has no tables yet
      criteria: {
        allOf: [
          {
            query: ofOne(rule.query, resourceId('Microsoft.Insights/components', insightsName))
            timeAggregation: 'Total'
            metricMeasureColumn: rule.column
            operator: rule.operator
            threshold: rule.threshold
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      actions: {
        actionGroups: empty(email) ? [] : [people.id]
      }
    }
  }
]

// Of our own model account the platform counts 429s itself, whatever the app says.
resource modelThrottled 'Microsoft.Insights/metricAlerts@2018-03-01' = if (!empty(modelAccountName)) {
  name: '${name}-model-throttled'
  location: 'global'
  tags: tags
  properties: {
    description: 'The model account answers 429: raise its quota, or send it less.'
    severity: 2
    enabled: true
    scopes: [resourceId('Microsoft.CognitiveServices/accounts', modelAccountName)]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'throttled'
          metricNamespace: 'Microsoft.CognitiveServices/accounts'
          metricName: 'AzureOpenAIRequests'
          dimensions: [
            {
              name: 'StatusCode'
              operator: 'Include'
              values: ['429']
            }
          ]
          timeAggregation: 'Total'
          operator: 'GreaterThan'
          threshold: 20
        }
      ]
    }
    actions: empty(email)
      ? []
      : [
          {
            actionGroupId: people.id
          }
        ]
  }
}
