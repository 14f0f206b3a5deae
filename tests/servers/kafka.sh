#!/usr/bin/env bash
# Kafka's jars from Maven Central (43 MB, about 40 s from nothing); needs Java 17 and Maven. Prints their folder; the
# broker is started by tests/collectors/broker.py. -C: a file whose checksum is not the
# repository's fails the build.
set -euo pipefail
version=4.1.0
folder=${XDG_CACHE_HOME:-$HOME/.cache}/soc-tests/kafka-$version
if [ ! -d "$folder" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  cat > "$work/pom.xml" <<X
<project><modelVersion>4.0.0</modelVersion><groupId>x</groupId><artifactId>x</artifactId><version>1</version>
<packaging>pom</packaging><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
X
  rm -rf "$folder.new"
  (cd "$work" && mvn -q -B -C org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$folder.new") >&2
  mv "$folder.new" "$folder"
fi
echo "$folder"
