#!/usr/bin/env bash
# Stream a background response with curl, and resume after the last whole event when the connection breaks.
# BASE, KEY and, if you like, MODEL come from the environment.
set -euo pipefail

events=$(mktemp)
trap 'rm -f "$events" "$events.whole"' EXIT

# Append what one connection brings, up to its last whole event: each ends with a blank line.
ask() {
  curl -sSN --fail-with-body -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" "$@" >>"$events" || true
  head -n "$(grep -n '^$' "$events" | tail -n 1 | cut -d : -f 1 || true)" "$events" >"$events.whole" 2>/dev/null || true
  mv "$events.whole" "$events"
}

body="{\"model\": \"${MODEL:-sim-5s}\", \"input\": \"Why do long calls break?\", \"background\": true, \"stream\": true}"
again="Idempotency-Key: curl-$$-$(date +%s)" # to repeat the POST is then to get the same stream
last() { sed -n 's/^id: //p' "$events" | tail -n 1; }
end() { grep -E -A 1 '^event: response\.(completed|failed|incomplete)$' "$events"; }

until end >/dev/null; do
  token=$(last)
  if [[ -n $token ]]; then ask "$BASE/responses/$token?stream=true"; else ask -H "$again" "$BASE/responses" -d "$body"; fi
  end >/dev/null || sleep 1
done
end | sed -n 's/^data: //p'
