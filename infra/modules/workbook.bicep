// One page of charts in the portal, beside the alerts. docs/telemetry.md says what each shows. The tests hold every name in a
// query against the code, and ask the queries of lines and metrics that the app has written.
import { lines, ofOne, signals } from 'alerts.bicep'

@description('What the portal calls it.')
param name string

@description('Region.')
param location string

@description('Tags of every resource.')
param tags { *: string }

@description('The workspace whose logs are asked.')
param workspaceId string

@description('Name of Application Insights. Only its rows are shown, because a workspace may be shared.')
param insightsName string

@description('Seconds after which an unfinished response fails. Nothing older than that is in flight.')
@minValue(1)
@maxValue(604800)
param responseDeadlineS int

@description('Prices of a million tokens by model, as the app has them; empty for none.')
param prices string

var accepted = 'background_responses.accepted'
var ended = 'background_responses.ended'
// The events that a response ends with. One that is purged has ended, whatever became of the line about it.
var ends = [
  'response.completed'
  'response.failed'
  'response.incomplete'
  'response.cancelled'
  'response.withdrawn'
  'response.purged'
]
var story = ['response.accepted', 'response.started', 'response.in_progress', ...ends, ...signals.deferred]
var unserved = [...signals.deferred, ...signals.refused]
// What goes wrong at the gates, and the minutes in which one is closed. What waits at one is deferred.
var gateTrouble = [
  'gate.acceptance_unwritten'
  signals.closed
  'gate.grants_unstarted'
  'gate.mended'
  'gate.missed'
  'gate.permit_kept'
  'gate.permit_recovered'
  'gate.place_kept'
  'gate.unaudited'
  'gate.unreadable'
  'gate.unwritten'
  'gates.missed'
]
var endEvents = '"${join(ends, '", "')}"'
var waitEvents = '"${join(signals.deferred, '", "')}"'
var tryEvents = '"${join(unserved, '", "')}"'
var storyEvents = '"${join(story, '", "')}"'
var gateEvents = '"${join(gateTrouble, '", "')}"'

// "gpt-5", "1.25", "10" of `gpt-5=1.25/0.125/10`. The app refuses other forms.
var priced = map(filter(split(prices, ','), one => contains(one, '=')), one => split(replace(one, '"', ''), '='))
var priceRows = map(
  priced,
  one =>
    '"${trim(join(take(one, length(one) - 1), '='))}", "${trim(first(split(last(one), '/')))}", "${trim(last(split(last(one), '/')))}"'
)

// One line for each unfinished response: when it was accepted, and what was told of it last.
var unfinished = '${lines} | where event in (${storyEvents}) | extend Response = tostring(line.response) | summarize Begun = countif(event == "response.accepted"), Over = countif(event in (${endEvents})), Since = min(TimeGenerated), Model = max(iff(event == "response.accepted", tostring(line.model), "")), Caller = max(iff(event == "response.accepted", tostring(line.caller), "")), arg_max(TimeGenerated, event, line) by Response | where Begun > 0 and Over == 0'

var panels = [
  {
    id: 'in-flight'
    title: 'In flight, and the age of the oldest in minutes'
    query: '${unfinished} | summarize InFlight = count(), OldestMinutes = max(datetime_diff("minute", now(), Since))'
    visualization: 'table'
    isNow: true
  }
  {
    id: 'oldest'
    title: 'The oldest unfinished responses, what was told of them last, and what they wait for'
    query: '${unfinished} | project Response, Caller, Model, Since, LastTold = event, WaitsFor = tostring(line.waits_for) | top 20 by Since asc'
    visualization: 'table'
    isNow: true
  }
  {
    id: 'flow'
    title: 'Responses accepted, and ended by status'
    query: 'AppMetrics | where Name in ("${accepted}", "${ended}") | extend What = iff(Name == "${accepted}", "accepted", tostring(Properties.status)) | summarize Responses = sum(Sum) by What, bin(TimeGenerated, {range:grain})'
    visualization: 'timechart'
    isNow: false
  }
  {
    id: 'age'
    title: 'Age at completion in seconds: median, 95 and 99 of 100'
    query: '${lines} | where event == "response.completed" | extend Age = toreal(line.age_ms) / 1000 | summarize Median = percentile(Age, 50), P95 = percentile(Age, 95), P99 = percentile(Age, 99) by bin(TimeGenerated, {range:grain})'
    visualization: 'timechart'
    isNow: false
  }
  {
    id: 'deliveries'
    title: 'Deliveries by host: attempts, ends, and milliseconds of an attempt (95 of 100)'
    query: '${lines} | where event == "${signals.attempted}" | extend Host = iff(isempty(tostring(line.host)), tostring(line.target), tostring(line.host)), State = tostring(line.state) | summarize Attempts = sum(ItemCount), Delivered = sumif(ItemCount, State == "delivered"), Pending = sumif(ItemCount, State == "pending"), Lost = sumif(ItemCount, State in ("failed", "gone", "blocked")), P95 = percentile(toreal(line.duration_ms), 95) by Host | top 50 by Attempts'
    visualization: 'table'
    isNow: false
  }
  {
    id: 'upstream'
    title: 'Tries and polls that the upstream did not serve, by reason'
    query: '${lines} | where event in (${tryEvents}) | summarize Tries = sum(ItemCount) by Reason = tostring(line.reason), bin(TimeGenerated, {range:grain})'
    visualization: 'timechart'
    isNow: false
  }
  {
    id: 'failures'
    title: 'Failed responses, by the code of their error'
    query: '${lines} | where event == "response.failed" | summarize Responses = sum(ItemCount) by Error = tostring(line.error), Model = tostring(line.model) | top 50 by Responses'
    visualization: 'table'
    isNow: false
  }
  {
    id: 'lines'
    title: 'Gates: responses that wait in line, the most in each time'
    query: '${lines} | where event == "gate.seen" | summarize Waiting = max(tolong(line.waiting)) by Gate = tostring(line.gate), bin(TimeGenerated, {range:grain})'
    visualization: 'timechart'
    isNow: false
  }
  {
    id: 'waiting'
    title: 'Gates: responses that the upstream refused for now, by what they wait for'
    query: '${lines} | where event in (${waitEvents}) | summarize Responses = dcount(tostring(line.response)) by WaitsFor = tostring(line.waits_for), bin(TimeGenerated, {range:grain})'
    visualization: 'timechart'
    isNow: false
  }
  {
    id: 'turns'
    title: 'Gates: seconds from acceptance to the upstream\'s start, which a line at a gate lengthens'
    query: '${lines} | where event in ("response.accepted", "response.started") | summarize Accepted = min(iff(event == "response.accepted", TimeGenerated, datetime(null))), Started = min(iff(event == "response.started", TimeGenerated, datetime(null))) by Response = tostring(line.response) | where isnotnull(Accepted) and isnotnull(Started) | extend Waited = datetime_diff("millisecond", Started, Accepted) / 1000.0 | summarize Median = percentile(Waited, 50), P95 = percentile(Waited, 95), Longest = max(Waited) by bin(TimeGenerated = Accepted, {range:grain})'
    visualization: 'timechart'
    isNow: false
  }
  {
    id: 'gates'
    title: 'Gates: the minutes in which each was closed, and what went wrong with them'
    query: '${lines} | where event in (${gateEvents}) | summarize Lines = sum(ItemCount), Last = max(TimeGenerated) by Event = event, Gate = tostring(line.gate) | top 50 by Lines'
    visualization: 'table'
    isNow: false
  }
  {
    id: 'tokens'
    title: 'Cost of 1,000 responses by model: tokens, and their price by PRICES without the discount for cached input'
    query: 'let prices = datatable(Model: string, InputPrice: string, OutputPrice: string) [${join(priceRows, ', ')}]; ${lines} | where event in (${endEvents}) | where isnotnull(line.input_tokens) | summarize Responses = sum(ItemCount), Input = sum(ItemCount * tolong(line.input_tokens)), Output = sum(ItemCount * tolong(line.output_tokens)) by Model = tostring(line.model) | lookup kind=leftouter prices on Model | project Model, Responses, InputTokens = 1000.0 * Input / Responses, OutputTokens = 1000.0 * Output / Responses, Cost = (Input * toreal(InputPrice) + Output * toreal(OutputPrice)) / Responses / 1000 | top 50 by Responses'
    visualization: 'table'
    isNow: false
  }
  {
    id: 'platform'
    title: 'Cost of 1,000 responses: executions of functions, their seconds (an instance that runs several is billed once), and MB of logs'
    query: 'union (AppMetrics | project Ended = iff(Name == "${ended}", Sum, 0.0), Executions = 0.0, Seconds = 0.0, Bytes = _BilledSize), (AppRequests | extend Runs = iff(AppRoleName != "${signals.role}", toreal(ItemCount), 0.0) | project Ended = 0.0, Executions = Runs, Seconds = Runs * max_of(1.0, DurationMs / 1000), Bytes = _BilledSize), (AppTraces | project Ended = 0.0, Executions = 0.0, Seconds = 0.0, Bytes = _BilledSize), (AppDependencies | project Ended = 0.0, Executions = 0.0, Seconds = 0.0, Bytes = _BilledSize) | summarize Responses = sum(Ended), Executions = 1000 * sum(Executions) / sum(Ended), Seconds = 1000 * sum(Seconds) / sum(Ended), MegabytesOfLogs = sum(Bytes) / sum(Ended) / 1000 | where Responses > 0'
    visualization: 'table'
    isNow: false
  }
]

var text = {
  type: 1
  content: {
    json: '## ${name}\nWhat each chart shows, and what to do: docs/telemetry.md and docs/operations.md. The first two tables look back as far as a response may live, whatever the time range. They count lines, so a line that was lost leaves a response here until its deadline. `GET /operator/status` counts rows.'
  }
  name: 'text'
}

var range = {
  type: 9
  content: {
    version: 'KqlParameterItem/1.0'
    style: 'pills'
    queryType: 0
    resourceType: 'microsoft.operationalinsights/workspaces'
    parameters: [
      {
        id: guid(name, 'range')
        version: 'KqlParameterItem/1.0'
        name: 'range'
        label: 'Time range'
        type: 4
        isRequired: true
        value: {
          durationMs: 86400000
        }
        typeSettings: {
          selectableValues: map([3600000, 14400000, 86400000, 604800000, 2592000000], one => { durationMs: one })
          allowCustom: true
        }
      }
    ]
  }
  name: 'parameters'
}

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, insightsName, 'workbook') // a group may have several deployments
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: name
    category: 'workbook'
    version: 'Notebook/1.0'
    sourceId: workspaceId
    serializedData: string({
      version: 'Notebook/1.0'
      items: [
        text
        range
        ...map(panels, panel => {
          type: 3
          content: {
            version: 'KqlItem/1.0'
            query: ofOne(panel.query, resourceId('Microsoft.Insights/components', insightsName))
            title: panel.title
            size: 0
            queryType: 0
            resourceType: 'microsoft.operationalinsights/workspaces'
            crossComponentResources: [workspaceId]
            visualization: panel.visualization
            ...(panel.isNow
              ? { timeContext: { durationMs: (responseDeadlineS + 3600) * 1000 } }
              : { timeContextFromParameter: 'range' })
          }
          name: panel.id
        })
      ]
      fallbackResourceIds: [workspaceId]
    })
  }
}
