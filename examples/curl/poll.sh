#!/usr/bin/env bash
# Start a background response with curl, and wait for its end, ten seconds a call.
# BASE, KEY and, if you like, MODEL come from the environment.
set -euo pipefail

ask() { curl -sS --fail-with-body -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" "$@"; }
field() { grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }  # jq -r ".$1", where there is one

ticket=$(ask "$BASE/responses" \
  -d "{\"model\": \"${MODEL:-sim-5s}\", \"input\": \"Why do long calls break?\", \"background\": true}")
token=$(field continuation_token <<<"$ticket" || true)
answer=$ticket
while [[ -n $token ]]; do
  answer=$(ask -H "Prefer: wait=10" "$BASE/responses/$token")
  token=$(field continuation_token <<<"$answer" || true)
done
echo "$answer"
