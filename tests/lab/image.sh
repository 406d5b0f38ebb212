#!/usr/bin/env bash
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Make the image of the lab's hosts, of this machine's own distribution and apt sources, and print its name.
# LAB_RELEASE names another release of the same distribution (trixie, say), from the same mirror.
# LAB_IMAGE names another image to use instead: any with systemd, sshd, python3, openssl and sqlite3.
# With the word "data" the image has PostgreSQL, MariaDB and Redis too, none of them enabled; LAB_DATA_IMAGE names another for that.
set -euo pipefail
cd "$(dirname "$0")"
export CONTAINERS_CONF=$PWD/containers.conf
kind=${1:-}
given=${LAB_IMAGE:-}
if [ "$kind" = data ]; then
  given=${LAB_DATA_IMAGE:-}
fi
if [ -n "$given" ]; then
  echo "$given"
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
make_data() {
  local data=localhost/opsrunner/lab-data:$version
  if ! podman image exists "$data"; then
    # Not started while they are installed; enabled by whoever uses them.
    podman build --quiet --network=host --pull=never --tag "$data" --file - . >&2 <<END
FROM $image
RUN printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d && apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql mariadb-server redis-server age restic acl attr python3-boto3 >/dev/null \
 && systemctl disable postgresql mariadb redis-server && rm /usr/sbin/policy-rc.d && apt-get clean
END
  fi
  echo "$data"
}
if podman image exists "$image"; then
  if [ "$kind" = data ]; then make_data; else echo "$image"; fi
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
if [ "$kind" = data ]; then make_data; else echo "$image"; fi
