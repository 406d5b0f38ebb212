#!/usr/bin/env bash
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Fetch the jars of OpenSearch, once, and print where they are: classes=CLASSPATH
# (start it with java -cp CLASSPATH Server HOME PORT TRANSPORT-PORT). Needs mvn and javac. Versions are pinned in opensearch/.
set -euo pipefail
here=$(cd "$(dirname "$0")/opensearch" && pwd)
for program in mvn javac; do
  command -v "$program" >/dev/null || { echo "$program is not installed" >&2; exit 3; }
done
version=$(cat "$here"/{pom.xml,Server.java} | sha256sum | cut -c1-12)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/opsrunner/opensearch-$version
mkdir -p "$(dirname "$cache")"
exec 9> "$cache.lock"
flock 9
if [ ! -e "$cache/.ready" ]; then
  rm -rf "$cache"
  mkdir -p "$cache/classes"
  (
    cp "$here/pom.xml" "$cache"
    cd "$cache"
    mvn --batch-mode --quiet dependency:copy-dependencies -DoutputDirectory=jars -DincludeScope=runtime
    javac -cp 'jars/*' -d classes "$here/Server.java"
  ) >&2
  touch "$cache/.ready"
fi
echo "classes=$cache/classes:$cache/jars/*"
