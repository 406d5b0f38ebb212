# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of a copy, by its kind."""

from __future__ import annotations

import os
from typing import Any, Callable, Mapping

from ..options import Backup
from ..plan import Copy
from .store import CopyError, Store

#: restic's own cache, which would else be in the home folder of whoever runs it.
RESTIC_CACHE = "/var/cache/opsrunner/restic"


def store_of(s3_client: Callable[[Mapping[str, Any]], Any], no_boto3: str) -> Callable[[Backup, Copy], Store]:
    """How a copy's store is opened. ``s3_client``: makes boto3's client, ImportError without boto3; ``no_boto3``: what is then told."""

    def opened(backup: Backup, copy: Copy) -> Store:
        limits = backup.plan.limits
        if copy.kind == "rsync":
            from .rsync import RsyncStore

            return RsyncStore(copy.options, limits, copy.bandwidth)
        if copy.kind == "restic":
            from .restic import ResticStore

            os.makedirs(RESTIC_CACHE, mode=0o700, exist_ok=True)
            return ResticStore(copy.options, backup.name, limits, copy.bandwidth, RESTIC_CACHE)
        from .s3 import S3Store

        try:
            client = s3_client(copy.options)
        except ImportError:
            raise CopyError("program", no_boto3) from None
        except Exception as error:  # an endpoint that is none, whatever botocore raises for it
            raise CopyError("failed", " ".join(str(error).split())[:300]) from error
        return S3Store(client, copy.options, copy.bandwidth)

    return opened
