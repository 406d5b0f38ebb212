#!/usr/bin/env bash
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Run the tests of module_utils under Python 3.8, the oldest of managed hosts, where it is there. OLD_PYTHON names it.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${OLD_PYTHON:-}
for candidate in python3.8 "$HOME"/.pyenv/versions/3.8.*/bin/python3.8; do
  # A shim may be there without the Python behind it.
  [ -n "$python" ] || ! "$candidate" -c '' 2>/dev/null || python=$candidate
done
if [ -z "$python" ]; then
  echo "Left out: module_utils under Python 3.8, which is not installed here (OLD_PYTHON names one)"
  exit
fi
venv=.cache/old-python/venv
requirements=tests/unit/old_python.txt
if [ ! -e "$venv/.ready" ] || [ "$requirements" -nt "$venv/.ready" ]; then
  rm -rf "$venv"
  "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$requirements"
  touch "$venv/.ready"
fi
exec "$venv/bin/python" -m pytest tests/unit/plugins/module_utils -q -n "${WORKERS:-2}"
