#!/usr/bin/env bash
# syslog-ng with its HTTP destination, unpacked into a folder of its own: Debian's package and rsyslog's exclude each
# other. Prints the folder. What it is linked with (libivykis0 libnet1 libjson-c5 libwrap0 libcurl4 libpcre3) is in .ci/run.
set -euo pipefail
folder=${XDG_CACHE_HOME:-$HOME/.cache}/soc-tests/syslog-ng
if [ ! -x "$folder/usr/sbin/syslog-ng" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  cd "$work"
  packages=(syslog-ng-core syslog-ng-mod-http syslog-ng-scl)
  apt-get download -qq "${packages[@]}" >&2 || { apt-get update -qq && apt-get download -qq "${packages[@]}" >&2; }
  for package in *.deb; do dpkg-deb -x "$package" root; done
  mkdir -p "$(dirname "$folder")"
  rm -rf "$folder.new" && cp -r root "$folder.new" && rm -rf "$folder" && mv "$folder.new" "$folder"
fi
echo "$folder"
