"""The operations of operators, of the upstream and of probes, and the document itself. Pure."""

from shared.openapi import faults, parameters
from shared.openapi.operation import Answer, Operation, answer
from shared.openapi.parameters import PATH

_RESPONSE = (PATH["response"],)

OPERATOR = (
    Operation(
        "operator_status",
        "GET",
        "/operator/status",
        "Tell how the service is",
        (answer("OperatorStatus", "What is in flight, overdue and in trouble."),),
        faults.OPERATOR,
    ),
    Operation(
        "operator_responses",
        "GET",
        "/operator/responses",
        "List the responses of one caller, or all that have not ended",
        (answer("OperatorResponseList", "A page of the list."),),
        (*faults.OPERATOR, *faults.PARAMETER, *faults.MISSING),
        (parameters.CALLER, *parameters.RESPONSES),
    ),
    Operation(
        "operator_deliveries",
        "GET",
        "/operator/deliveries",
        "List the deliveries in trouble, of one caller or of all",
        (answer("OperatorDeliveryPage", "A page of the list, oldest first."),),
        (*faults.OPERATOR, *faults.PARAMETER),
        (parameters.CALLER, *parameters.DELIVERIES),
    ),
    Operation(
        "operator_usage",
        "GET",
        "/operator/usage",
        "Tell what one caller has used, or each of them",
        (answer("OperatorUsage", "The sums by caller, day and model."),),
        (*faults.OPERATOR, *faults.USAGE),
        (parameters.CALLER, *parameters.USAGE),
    ),
    Operation(
        "operator_erase",
        "DELETE",
        "/operator/responses",
        "Erase the responses of a caller, all of them or those of a time or a person",
        (answer("Erasure", "The order is accepted. This is its receipt.", 202),),
        (*faults.OPERATOR, *faults.PARAMETER, *faults.MISSING),
        (parameters.WHOSE, *parameters.ERASURE),
    ),
    Operation(
        "operator_cancel",
        "POST",
        "/operator/responses/{id}/cancel",
        "Cancel a response of any caller",
        (answer("OperatorResponse", "The response."),),
        (*faults.OPERATOR, *faults.RESPONSE, *faults.CANCEL),
        _RESPONSE,
    ),
    Operation(
        "operator_redeliver",
        "POST",
        "/operator/responses/{id}/deliveries/redeliver",
        "Start the deliveries of a response of any caller again",
        (answer("DeliveryList", "The deliveries with their attempts."),),
        (*faults.OPERATOR, *faults.RESPONSE, *faults.BODY, *faults.REDELIVER),
        _RESPONSE,
        body="Redelivery",
        needs_body=False,
    ),
)

PUBLIC = (
    Operation(
        "health_live",
        "GET",
        "/health/live",
        "Tell whether this process answers",
        (answer("Live", "It does."),),
        is_public=True,
    ),
    Operation(
        "health_ready",
        "GET",
        "/health/ready",
        "Tell whether storage and the credentials of an upstream can be used",
        (answer("Ready", "They can. The answer is up to 5 s old."),),
        faults.READY,
        is_public=True,
    ),
    Operation(
        "health_upstream",
        "GET",
        "/health/upstream",
        "Tell whether the upstreams answer, as this process has seen it, and as their gates tell of all",
        (answer("UpstreamHealth", "None is down."),),
        faults.DOWN,
        is_public=True,
    ),
    Operation(
        "openapi",
        "GET",
        "/openapi.json",
        "Return this document",
        (
            answer("Document", "The document.", headers={"ETag": "ETag", "Cache-Control": "CacheControl"}),
            Answer(304, "`If-None-Match` names this version.", headers={"ETag": "ETag"}),
        ),
        parameters=(parameters.IF_NONE_MATCH,),
        is_public=True,
    ),
    Operation(
        "receive_webhook",
        "POST",
        "/webhooks/upstream",
        "Receive a webhook of the upstream, which announces the end of one of its responses",
        (answer("Received", "The webhook is verified, and was acted on."),),
        faults.WEBHOOK,
        parameters.UPSTREAM_WEBHOOK,
        body="UpstreamWebhook",
        is_public=True,
        is_at_root=True,
    ),
)
