#!/usr/bin/env bash
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What an operator's own script would look at on one of LogCaster's hosts: the same things as the daily runbook, without its
# thresholds, evidence, record and report. Sent over ssh: ssh HOST bash -s < look.sh
export LC_ALL=C

echo "== units"
systemctl list-units --all --no-legend --plain 'logcaster*.service'

echo "== endpoints"
for port in 9999 9998 8999 8998 6667; do
  curl -s -o /dev/null -w "$port %{http_code} %{time_total}\n" --max-time 5 "http://127.0.0.1:$port/health" &
done
wait

echo "== ports and who holds them"
ss -ltnpH '( sport = :9999 or sport = :9998 )'

echo "== established connections"
for port in 9999 9998; do
  echo "$port $(ss -tnH state established "( sport = :$port )" | wc -l)"
done

echo "== files"
stat -c '%n %U:%G %a %s' /var/lib/logcaster /var/lib/logcaster/data.db
find /var/log/logcaster -type f -name '*.log' -size +100M
find /var/log/logcaster -type f -name '*.log' -mtime +30

echo "== cpu over a second, load, memory, swap"
vmstat 1 2 | tail -n 1
cat /proc/loadavg
free -b

echo "== disks and inodes"
df -PT -x overlay -x devtmpfs
df -P /
df -Pi

echo "== network"
cat /proc/net/dev

echo "== OOM kills and core dumps"
grep oom_kill /proc/vmstat
journalctl -k --since -24h --no-pager -q | grep -ci 'out of memory'
find /var/crash /var/lib/systemd/coredump -type f -mtime -1 2>/dev/null

echo "== busiest processes"
ps -eo pid,user,pcpu,rss,comm --sort=-pcpu | head -n 6
ps -eo pid,user,pcpu,rss,comm --sort=-rss | head -n 6

echo "== logs of the last 24 hours"
since=$(date -u -d '-24 hours' '+%Y-%m-%d %H:%M:%S')
awk -v since="$since" '($1 " " $2) >= since { count[$3]++ } END { for (level in count) print level, count[level] }' /var/log/logcaster/error.log
grep -ih error /var/log/logcaster/*.log | tail -n 10
awk '{ count[$9]++ } END { for (status in count) print status, count[status] }' /var/log/logcaster/access.log
grep -o '"duration_ms": [0-9.]*' /var/log/logcaster/logcaster.log | awk '{ print $2 }' | sort -n |
  awk '{ v[NR] = $1; s += $1 } END { print "durations", NR, s / NR, v[int(NR * .5)], v[int(NR * .95)], v[int(NR * .99)] }'
grep -o '"level": "[A-Z]*"' /var/log/logcaster/logcaster.log | sort | uniq -c

echo "== backups"
ls -ld /backup/daily/* | tail -n 5
newest=$(ls -d /backup/daily/2* | tail -n 1)
du -sb /backup/daily/*
python3 -c 'import json, os, sys
manifest = json.load(open(sys.argv[1] + "/manifest.json"))
for item in manifest["artifacts"]:
    print(item["file"], item["size"], os.path.getsize(sys.argv[1] + "/" + item["file"]))' "$newest"
ls "$newest/verified.json"
exit 0
