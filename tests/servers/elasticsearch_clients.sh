#!/usr/bin/env bash
# The Elasticsearch clients of versions 7 and 9, each in a folder of its own beside the 8 that is installed. Prints the
# folder that holds `7` and `9`. The versions are pinned here; pip checks what the index says of each file.
set -euo pipefail
versions=(7.17.13 9.5.1)
folder=${XDG_CACHE_HOME:-$HOME/.cache}/soc-tests/elasticsearch-clients
for version in "${versions[@]}"; do
  place=$folder/$version
  if [ ! -d "$place" ]; then
    rm -rf "$place.new"
    "${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target "$place.new" "elasticsearch==$version" >&2
    mv "$place.new" "$place"
  fi
done
echo "$folder"
