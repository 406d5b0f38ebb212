#!/usr/bin/env bash
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Run the Molecule scenarios of molecule/, or molecule with the arguments given.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH=$PWD/.venv/bin:$PATH
# With galaxy.yml at the root Molecule looks in extensions/ otherwise.
export MOLECULE_GLOB="$PWD/molecule/*/molecule.yml"
export ANSIBLE_CONFIG=$PWD/ansible.cfg
# What podman was first called with on a machine decides how it makes networks, unless it is told each time.
export CONTAINERS_CONF=$PWD/tests/lab/containers.conf
export ANSIBLE_HOME=${ANSIBLE_HOME:-$PWD/.ansible}
if [ $# = 0 ]; then
  # Molecule always looks for a scenario named default, in the star's place, and calls it a failure that there is none.
  export MOLECULE_GLOB="$PWD/molecule/{daily,*}/molecule.yml"
  set -- test --all
fi
exec molecule "$@"
