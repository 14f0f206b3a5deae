#!/usr/bin/env bash
# Telegraf from the Go module proxy, with the plugins that the tests use (90 s of CPU from nothing); needs Go 1.25 or newer.
# Prints the program. The version is pinned here; go checks what it gets against the checksum database.
set -euo pipefail
version=1.37.2
program=${XDG_CACHE_HOME:-$HOME/.cache}/soc-tests/telegraf-$version/telegraf
if [ ! -x "$program" ]; then
  tags=custom,inputs.tail,outputs.elasticsearch,outputs.http,outputs.graylog,outputs.syslog,parsers.grok,parsers.value,serializers.json
  new=$(dirname "$program").new
  rm -rf "$new"
  for attempt in 1 2 3; do  # what was fetched stays in Go's cache
    if GOBIN=$new CGO_ENABLED=0 go install -tags "$tags" "github.com/influxdata/telegraf/cmd/telegraf@v$version" >&2; then break; fi
    sleep $((5 * attempt))
  done
  mv "$new" "$(dirname "$program")"
fi
echo "$program"
