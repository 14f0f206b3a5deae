#!/usr/bin/env bash
# OASIS's TAXII 2.1 server, medallion, from PyPI in a folder of its own (6 s). Prints the folder, which goes on PYTHONPATH.
set -euo pipefail
version=3.0.0
folder=${XDG_CACHE_HOME:-$HOME/.cache}/soc-tests/medallion-$version
if [ ! -d "$folder" ]; then
  rm -rf "$folder.new"
  "${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target "$folder.new" "medallion==$version" >&2
  mv "$folder.new" "$folder"
fi
echo "$folder"
