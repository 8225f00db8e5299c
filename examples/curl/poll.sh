#!/usr/bin/env bash
# Start a background response with curl, and wait for its end, ten seconds a call.
# BASE, KEY and, if you like, MODEL come from the environment.
set -euo pipefail

# An error with an empty body comes from the platform, while it starts: it is worth a repeat.
ask() {
  local answer pause
  for pause in 1 2 4 8 16; do
    if answer=$(curl -sS --fail-with-body -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" "$@"); then
      echo "$answer" && return
    fi
    [[ -z $answer ]] || { echo "$answer" && return 1; }
    sleep "$pause"
  done
  return 1
}
field() { grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }  # jq -r ".$1", where there is one

again="Idempotency-Key: curl-$$-$(date +%s)" # a repeated POST then returns the same response
ticket=$(ask -H "$again" "$BASE/responses" \
  -d "{\"model\": \"${MODEL:-sim-5s}\", \"input\": \"Why do long calls break?\", \"background\": true}")
token=$(field continuation_token <<<"$ticket" || true)
answer=$ticket
while [[ -n $token ]]; do
  answer=$(ask -H "Prefer: wait=10" "$BASE/responses/$token")
  token=$(field continuation_token <<<"$answer" || true)
done
echo "$answer"
