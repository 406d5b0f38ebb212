#!/usr/bin/env bash
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Say why the lab cannot be used on this machine; nothing when it can.
if [ "$(id -u)" != 0 ]; then
  echo "the lab needs root"
  exit
fi
for program in podman runc iptables ssh-keygen openssl; do
  command -v "$program" >/dev/null || missing="${missing:-}, $program"
done
[ -n "${LAB_IMAGE:-}" ] || command -v mmdebstrap >/dev/null || missing="${missing:-}, mmdebstrap"
[ -x /usr/lib/podman/netavark ] || [ -x /usr/libexec/podman/netavark ] || missing="${missing:-}, netavark"
[ -z "${missing:-}" ] || echo "these are not installed: ${missing#, } (docs/lab.md)"
