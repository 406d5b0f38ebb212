#!/usr/bin/env bash
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# ansible-test sanity on a copy of the collection: it must lie under ansible_collections/, and inside the tree of links of
# collections/ it would be green without looking. Arguments go to ansible-test sanity.
set -euo pipefail
cd "$(dirname "$0")/../.."
top=$PWD
copy=$top/.cache/sanity/ansible_collections/opsrunner/runbook
# The oldest Python of managed hosts, where it is there: ansible-test compiles and imports with it as well.
oldest=$(find "$HOME/.pyenv/versions" -maxdepth 1 -name '3.8.*' 2>/dev/null | sort | tail -n 1 || true)
# A home of its own: what ansible-test makes (virtual environments, pip) stays in the checkout's cache.
export HOME=$top/.cache/sanity/home
mkdir -p "$copy" "$HOME/.ansible/test/cache"
export PIP_CACHE_DIR=${PIP_CACHE_DIR:-$top/.cache/pip}

# Only what the collection ships; what is deleted here must not live on in the copy.
rm -rf "$copy"
mkdir -p "$copy"
git ls-files -z --cached --others --exclude-standard -- galaxy.yml README.md CHANGELOG.md LICENSE changelogs meta playbooks plugins roles tests/sanity |
  while IFS= read -r -d '' file; do [ ! -f "$file" ] || printf '%s\0' "$file"; done |
  tar --null --files-from=- -cf - | tar -C "$copy" -xf -

# ansible-test would download pip's bootstrap script.
for name in get_pip_24_2.py get_pip_20_3_4.py get_pip_21_3_1.py; do
  [ -e "$HOME/.ansible/test/cache/$name" ] || cp tests/sanity/bootstrap_pip.py "$HOME/.ansible/test/cache/$name"
done

cd "$copy"
# Without a repository of its own the copy would be part of the checkout, which ignores it.
git init -q
echo tests/output/ >> .git/info/exclude
# The exceptions are the same for every ansible-core that may be in the environment.
version=$("$top/.venv/bin/python" -c 'from ansible.release import __version__; print(".".join(__version__.split(".")[:2]))')
[ -e "tests/sanity/ignore-$version.txt" ] || cp tests/sanity/ignore-2.19.txt "tests/sanity/ignore-$version.txt"
export PATH=$top/.venv/bin:/usr/local/bin:/usr/bin:/bin${oldest:+:$oldest/bin}
exec ansible-test sanity --color no "$@"
