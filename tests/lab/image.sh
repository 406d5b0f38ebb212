#!/usr/bin/env bash
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Make the image of the lab's hosts, of this machine's own distribution and apt sources, and print its name.
# LAB_RELEASE names another release of the same distribution (trixie, say), from the same mirror.
# LAB_IMAGE names another image to use instead: any with systemd, sshd, python3, openssl and sqlite3.
set -euo pipefail
cd "$(dirname "$0")"
export CONTAINERS_CONF=$PWD/containers.conf
if [ -n "${LAB_IMAGE:-}" ]; then
  echo "$LAB_IMAGE"
  exit
fi

packages=systemd,systemd-sysv,dbus,python3,python3-apt,python3-psutil,sudo,procps,iproute2,iptables
packages=$packages,ca-certificates,cron,logrotate,rsyslog,openssl,rsync,sqlite3,openssh-server,xz-utils,zstd,curl
own=$(. /etc/os-release && echo "$VERSION_CODENAME")
suite=${LAB_RELEASE:-$own}
sources=
for file in /etc/apt/sources.list.d/{debian,ubuntu}.sources /etc/apt/sources.list; do
  if [ -s "$file" ]; then
    sources=$file
    break
  fi
done

version=$({ cat image.sh; echo "$suite"; } | sha256sum | cut -c1-12)
image=localhost/opsrunner/lab:$version
cache=${XDG_CACHE_HOME:-$HOME/.cache}/opsrunner/lab
rootfs=$cache/$version.tar
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if podman image exists "$image"; then
  echo "$image"
  exit
fi
find "$cache" -name '*.tar' -mtime +14 -delete
if [ ! -s "$rootfs" ]; then
  # Manuals and locales are two fifths of the image. Nothing starts inside the chroot, so no policy-rc.d.
  mmdebstrap --quiet --variant=minbase --include="$packages" \
    --aptopt='DPkg::Lock::Timeout "300"' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --customize-hook='rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/machine-id' \
    --customize-hook='touch "$1"/etc/machine-id' \
    --customize-hook='chroot "$1" systemctl mask systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket getty.target console-getty.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer' \
    --customize-hook='copy-in sshd-keys.service /etc/systemd/system/' \
    --customize-hook='chroot "$1" systemctl enable sshd-keys.service ssh.service' \
    --customize-hook='chroot "$1" useradd --create-home --shell /bin/bash watch' \
    "$suite" "$cache/partial.tar" - < <(sed "s/\b$own\b/$suite/g" "$sources") >&2
  mv "$cache/partial.tar" "$rootfs"
fi
podman import --quiet --change 'CMD=["/sbin/init"]' --change 'STOPSIGNAL=SIGRTMIN+3' "$rootfs" "$image" >&2
echo "$image"
