#!/usr/bin/env bash
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Fetch and build what the tests of MongoDB need, once, and print where it is: tools=FOLDER (mongodump, mongorestore),
# classes=CLASSPATH of a server that speaks its protocol (start it with java -cp CLASSPATH Server PORT) and
# host=TAR with all of it and a small Java for a lab host: bin/mongodump, bin/mongorestore, bin/server PORT.
# Needs go (any from 1.19 on), mvn, javac and jlink. Versions are pinned in mongodb/; the checksums of Go modules are in mongodb/go.sum.
set -euo pipefail
here=$(cd "$(dirname "$0")/mongodb" && pwd)
for program in go mvn javac jlink; do
  command -v "$program" >/dev/null || { echo "$program is not installed" >&2; exit 3; }
done
version=$(cat "$0" "$here"/{go.mod,go.sum,pom.xml,Server.java,server} | sha256sum | cut -c1-12)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/opsrunner/mongodb-$version
mkdir -p "$(dirname "$cache")"
exec 9> "$cache.lock"
flock 9
if [ ! -e "$cache/.ready" ]; then
  rm -rf "$cache"
  mkdir -p "$cache/bin" "$cache/classes"
  cp "$here"/{go.mod,go.sum,tools.go,pom.xml} "$cache"
  (
    cd "$cache"
    needed=$(sed -n 's/^go //p' go.mod) go=$(GOTOOLCHAIN=local go env GOVERSION)
    if [ "$(printf '%s\n' "$needed" "${go#go}" | sort -V | head -n 1)" != "$needed" ]; then
      # Debian 12 has an older one. It can fetch a newer one as newer ones do by themselves, but files of modules cannot be executed.
      fetched=$(cd / && go mod download -json "golang.org/toolchain@v0.0.1-go$needed.linux-$(go env GOARCH)" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
      cp -r "$fetched" go
      chmod -R u+w go
      chmod +x go/bin/* go/pkg/tool/*/*
      export PATH=$PWD/go/bin:$PATH
    fi
    # The modules are held against go.sum; not every proxy serves the database of sums for this one.
    export GONOSUMDB=github.com/mongodb/mongo-tools GOFLAGS="-mod=mod -buildvcs=false" GOTOOLCHAIN=local
    for tool in mongodump mongorestore; do
      go build -o "bin/$tool" "github.com/mongodb/mongo-tools/$tool/main"
    done
    cmp go.sum "$here/go.sum"
    mvn --batch-mode --quiet dependency:copy-dependencies -DoutputDirectory=jars -DincludeScope=runtime
    javac -cp 'jars/*' -d classes "$here/Server.java"
    jlink --add-modules java.logging,java.management,java.naming,java.xml,jdk.unsupported --strip-debug --no-header-files --no-man-pages --output java
    cp "$here/server" bin/
    tar -cf host.tar bin classes jars java
    rm -rf java go
  ) >&2
  touch "$cache/.ready"
fi
echo "tools=$cache/bin"
echo "classes=$cache/classes:$cache/jars/*"
echo "host=$cache/host.tar"
