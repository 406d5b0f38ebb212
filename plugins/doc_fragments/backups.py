# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module about backups documents; the argument spec of it is ``module_utils/_backup/spec.py``."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of the option O(backups)."""

    DOCUMENTATION = r"""
options:
  backups:
    description:
      - The backups, with all that is to be known of them; every module about backups takes the same list and uses its part.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the backup, unique; part of the check ids.
        type: str
        required: true
      root:
        description: Folder that holds the backups, an absolute path.
        type: str
        required: true
      mount_point:
        description:
          - Folder in which O(backups[].root) is, and where a disk is to be mounted. While none is, nothing is made, removed, copied or
            fetched there, and M(opsrunner.runbook.backup_status) is critical. Without it nobody can tell a disk that is not mounted from
            a new folder, and sets go to the disk of the system.
        type: path
      kind:
        description:
          - V(set) is a folder named by a UTC timestamp with a C(manifest.json), as this collection writes it.
          - V(file) is a file per backup, such as C(*.tar.gz); V(folder) a folder per backup, made by another tool.
        type: str
        choices: [set, file, folder]
        default: set
      pattern:
        description:
          - Glob for names below O(backups[].root); with C(/) it reaches into folders. Needed for files, else V(*).
        type: str
      max_age:
        description:
          - V(warning) and V(critical) ages of the newest backup, such as V(26h) and V(50h), which are the defaults.
          - The date is the manifest's end, else the name's where the last change does not contradict it, else the last change.
        type: dict
      size_change:
        description:
          - Ranges V(warning) and V(critical) for the newest one's size in percent against the median of the ones before, by
            default V(-50:100) and none.
        type: dict
      history:
        description: How many earlier backups are looked at and compared with.
        type: int
        default: 7
      min_count:
        description: Fewer backups than these are a warning.
        type: int
      min_size:
        description: A smaller newest backup is critical, such as V(10M).
        type: str
      partial_after:
        description: A backup that is still called partial or temporary after this time was left behind.
        type: str
        default: 6h
      max_unverified_age:
        description: Warn when none has passed O(backups[].verified_rung) within this time. Without it that is only told, of sets.
        type: str
      verified_rung:
        description: The rung of the verification ladder that counts as proof, 1 to 5; 3 is readable to its end by its own tool.
        type: int
        default: 3
      remedy:
        description: Runbook or section that is shown when something is wrong.
        type: str
      artifacts:
        description:
          - What the backup holds, one stream and file each. Without artifacts the backup is made by another tool and only looked at.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name of the artifact and of its file, unique in the backup.
            type: str
            required: true
          engine:
            description: What holds the data. V(config) is V(files) for configuration.
            type: str
            required: true
            choices: [files, config, sqlite, postgresql, mysql, redis, mongodb, opensearch]
          compression:
            description: How the stream is compressed; V(zstd) unless said otherwise.
            type: str
            choices: [zstd, gzip, none]
          level:
            description: Level of the compression, 1 to 19 for zstd and 1 to 9 for gzip; 3 and 6 unless said otherwise.
            type: int
          paths:
            description:
              - For files and config, the files and folders, absolute. A pattern such as V(/etc/app/*.conf) need not match anything.
              - The folder of the sets themselves is always left out.
            type: list
            elements: path
          exclude:
            description:
              - For files and config, globs of what is left out; with C(/) they match the whole path, without it a name.
              - V(*) is within one name, as in V(/srv/*/cache).
            type: list
            elements: str
          special:
            description:
              - For files and config, patterns of whole paths of devices and of programs with rights of their own (setuid, setgid,
                capabilities) that a restore may put in place. Without them it refuses a set that holds any; making a set warns.
            type: list
            elements: str
          one_file_system:
            description: For files, stay on the file systems of the paths.
            type: bool
          before:
            description:
              - Command, a text or a list of words, that makes the data stand still or takes a snapshot. Its failure ends the backup.
            type: raw
          after:
            description:
              - Command that undoes O(backups[].artifacts[].before); it runs in any case once that was started.
              - After a killed run the next one of the backup runs it, so it may run twice. What it starts is not waited for.
            type: raw
          snapshot_root:
            description: Folder below which the snapshot has the paths.
            type: path
          database:
            description:
              - Name of the database; for SQLite its file.
              - SQLite alone needs room for a temporary copy below O(backups[].root), for a file in use cannot be read as a stream.
            type: str
          content:
            description:
              - For databases, V(whole) as by default, V(schema) without rows, V(tables) the ones of O(backups[].artifacts[].tables),
                V(globals) the roles and tablespaces of a PostgreSQL server.
            type: str
            choices: [whole, schema, tables, globals]
          tables:
            description: Tables, with V(content=tables).
            type: list
            elements: str
          collections:
            description: For MongoDB, the collections; all of the database without it.
            type: list
            elements: str
          indices:
            description: For OpenSearch, the indices or patterns of them; all without it.
            type: list
            elements: str
          host:
            description: Host of the server; the local socket or this host without it.
            type: str
          port:
            description: Port of the server.
            type: int
          socket:
            description: Socket of the server.
            type: path
          url:
            description: For OpenSearch, address of the server.
            type: str
          user:
            description: User on the server.
            type: str
          password:
            description: Password on the server. Never on a command line.
            type: str
          auth_database:
            description: For MongoDB, the database that knows the user.
            type: str
          ca_file:
            description:
              - Certificates that the server's is checked with. For PostgreSQL, MySQL and Redis it goes with a host, and nothing is sent
                unless the connection is encrypted and the server's certificate is for that host.
            type: path
          cert_file:
            description: For database servers, the certificate that the server checks; for MongoDB with its key in the same file.
            type: path
          key_file:
            description: For PostgreSQL, MySQL and Redis, the key of O(backups[].artifacts[].cert_file).
            type: path
          run_as:
            description: User of the host that the engine's programs run as, such as V(postgres).
            type: str
          drill_server:
            description:
              - For PostgreSQL and MySQL, where a trial restore loads the dump. V(own), the default, makes a server in the scratch folder
                that runs as an unprivileged user; it needs the server's programs on the host.
              - V(live) uses a database of its own on the backup's server and refuses a role with all rights, for loading a dump runs its
                author's code. V(live_as_superuser) allows that.
            type: str
            choices: [own, live, live_as_superuser]
          unit:
            description: Systemd unit of the server, for engines that are restored with the server down.
            type: str
          repository:
            description: For OpenSearch, name of the snapshot repository that is used.
            type: str
          repository_path:
            description: For OpenSearch, folder of that repository, below C(path.repo) of the server.
            type: path
          timeout:
            description: Time for the server to answer, V(30s) unless said otherwise; not for the dump.
            type: str
      nice:
        description: Niceness of the programs, 0 to 19, 10 unless said otherwise.
        type: int
      io_class:
        description: Class of the programs' disk access, V(idle) unless said otherwise.
        type: str
        choices: [idle, best-effort, none]
      bandwidth:
        description: Bytes a second that are written at most, such as V(20M).
        type: str
      program_timeout:
        description:
          - Time within which each program that dumps, reads or restores must end, such as V(6h); V(24h) unless said otherwise.
          - A program that does not is killed. The finding names the program and the limit, and says nothing about the data.
        type: str
      workers:
        description: Artifacts that are made or verified at the same time, 2 unless said otherwise.
        type: int
      encryption:
        description: Encrypt the artifacts with age.
        type: dict
        suboptions:
          recipients:
            description: Public keys of age or ssh.
            type: list
            elements: str
            required: true
          identity:
            description: File on the host with the key that opens them, for rung 3 and above and for restores. Never in the set.
            type: path
      keep:
        description:
          - How many sets are kept - the last ones, and the newest of each hour, day, week, month and year. Without it none is ever removed.
        type: dict
        suboptions:
          last: {description: The newest sets., type: int}
          hourly: {description: Hours., type: int}
          daily: {description: Days., type: int}
          weekly: {description: Weeks (ISO)., type: int}
          monthly: {description: Months., type: int}
          yearly: {description: Years., type: int}
      copies:
        description: Places off this host that each set is copied to.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name of the copy, unique in the backup.
            type: str
            required: true
          kind:
            description: How it is reached.
            type: str
            required: true
            choices: [rsync, s3, restic]
          host:
            description: For rsync, the host, reached by ssh.
            type: str
          port:
            description: For rsync, port of ssh.
            type: int
          user:
            description: For rsync, user there.
            type: str
          path:
            description: For rsync, folder there.
            type: path
          key_file:
            description: For rsync, file with the ssh key.
            type: path
          known_hosts_file:
            description: For rsync, file with the keys of known hosts; an unknown host is refused.
            type: path
          bucket:
            description: For S3, the bucket.
            type: str
          prefix:
            description: For S3, what names of objects start with.
            type: str
          endpoint:
            description: For S3, address of the service if it is not the usual one.
            type: str
          region:
            description: For S3, the region.
            type: str
          storage_class:
            description: For S3, the storage class, such as V(STANDARD_IA).
            type: str
          access_key:
            description: For S3 and restic on S3, the key's name. Never on a command line.
            type: str
          secret_key:
            description: For S3 and restic on S3, the key. Never on a command line.
            type: str
          ca_file:
            description: For S3, certificates that the service's is checked with.
            type: path
          repository:
            description: For restic, the repository.
            type: str
          password:
            description: For restic, the repository's password. Never on a command line.
            type: str
          bandwidth:
            description: Bytes a second that are sent or fetched at most; to and from S3 by the part of 16 MiB.
            type: str
          max_behind:
            description: A copy that lacks a set older than this is told, V(26h) unless said otherwise.
            type: str
          keep:
            description:
              - How many sets are kept at the copy, by the rules of O(backups[].keep), which says nothing of copies. Without it nothing is
                ever removed there. M(opsrunner.runbook.backup_copy) removes what is not kept when that is confirmed.
            type: dict
            suboptions:
              last: {description: The newest ones., type: int}
              hourly: {description: Hours., type: int}
              daily: {description: Days., type: int}
              weekly: {description: ISO weeks., type: int}
              monthly: {description: Months., type: int}
              yearly: {description: Years., type: int}
      verify:
        description:
          - How often M(opsrunner.runbook.backup_verify) climbs each rung from 2 to 5 with the newest backup - a dictionary of rung and
            time, such as 3 and V(7d).
        type: dict
      drill:
        description: Trial restores.
        type: dict
        suboptions:
          every: {description: A drill that is longer ago is told by M(opsrunner.runbook.backup_status)., type: str}
          rto: {description: The longest time a restore may take., type: str}
          rpo: {description: The oldest that the data of the set may be., type: str}
          scratch:
            description: Folder on the host in which scratch places are made, V(/var/tmp) unless said otherwise; not in a source or a root.
            type: path
      restore:
        description: How the service is stopped for a restore and looked at after it.
        type: dict
        suboptions:
          services:
            description:
              - Systemd units, stopped in this order and started in the other. Name everything that has the data open.
              - A restore is refused while a process that it does not stop has files of the data open.
            type: list
            elements: str
          health:
            description: Probes as M(opsrunner.runbook.health_probe) takes them; all must be ok, else the restore is taken back.
            type: list
            elements: dict
          health_timeout:
            description: Time until they must be, V(60s) unless said otherwise.
            type: str
"""
