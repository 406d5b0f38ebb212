# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies in S3: the service sums what arrives and tells its sum, which must be ours.

That is a SHA-256 (of several parts: of their sums) where the service keeps one, as S3 does, else its ETag, an MD5 made in the same
way; a service that tells neither proves nothing, and the copy fails. A multipart upload that was cut is gone on with: parts that
are there with the right sum are not sent again. Objects are named
``<prefix>/<set>/<file>``; the manifest goes last. The client is boto3's, made by the module that uses this.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils import backup_manifest, backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils.copy_base import CopyError, Item, Sent, Store

#: Bytes of a part: 5 MiB is the least S3 takes, 10 000 parts are the most.
PART = 16 * 1024 * 1024
PARTS = 10_000
#: Classes whose objects must be asked for before they can be read, and days that they then stay readable.
ARCHIVED = ("GLACIER", "DEEP_ARCHIVE")
THAW_DAYS = 3


class Part(NamedTuple):
    """A part of a file and its sums."""

    size: int
    sha256: bytes
    md5: bytes


class S3Store(Store):
    """A bucket, or a prefix in one. ``client``: boto3's for S3."""

    def __init__(self, client: Any, options: Mapping[str, Any], bandwidth: Optional[int], part: int = PART) -> None:
        self._client, self._bucket, self._part = client, str(options["bucket"]), part
        self._prefix = str(options.get("prefix") or "").strip("/")
        self._class = options.get("storage_class")
        self._bandwidth = bandwidth

    def _key(self, *names: str) -> str:
        return "/".join(name for name in (self._prefix, *names) if name)

    def present(self) -> List[str]:
        """Names whose manifest is there."""
        found = []
        base = self._key("") + ("/" if self._prefix else "")
        with _told():
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=base):
                for item in page.get("Contents", ()):
                    name, _slash, file = item["Key"][len(base) :].partition("/")
                    if file == backup_manifest.MANIFEST:
                        found.append(name)
        return sorted(found, reverse=True)

    def send(self, name: str, items: Sequence[Item]) -> Sent:
        """Send what is not there yet, file by file."""
        with _told():
            sent = sum(self._send(name, item) for item in items)
        return Sent(len(items), sum(item.size for item in items), sent, "SHA-256 told by the service")

    def _send(self, name: str, item: Item) -> int:
        key = self._key(name, item.name)
        size = max(self._part, -(-item.size // PARTS))
        parts = list(_sums(item.path, size))
        if self._holds(key, item.size, parts):
            return 0
        if backup_stream.digest(item.path).sha256 != item.sha256:
            raise CopyError("differs", "%s is not what its manifest says" % item.name)
        sent = self._put(key, item, parts[0]) if len(parts) == 1 else self._put_parts(key, item, size, parts)
        if not self._holds(key, item.size, parts):
            raise CopyError("differs", "%s is not at the far end what was sent" % key)
        return sent

    def _holds(self, key: str, size: int, parts: Sequence[Part]) -> bool:
        try:
            told = self._client.head_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")
        except self._client.exceptions.ClientError as error:
            if error.response.get("Error", {}).get("Code") in ("404", "NoSuchKey", "NotFound"):
                return False
            raise
        if told["ContentLength"] != size:
            return False
        if told.get("ChecksumSHA256"):
            return str(told["ChecksumSHA256"]).partition("-")[0] == _base64(_whole([part.sha256 for part in parts], hashlib.sha256))
        whole = _whole([part.md5 for part in parts], hashlib.md5).hex()
        return str(told.get("ETag", "")).strip('"') == (whole if len(parts) == 1 else "%s-%d" % (whole, len(parts)))

    def _more(self) -> Dict[str, Any]:
        return {"StorageClass": self._class} if self._class else {}

    def _put(self, key: str, item: Item, part: Part) -> int:
        with open(item.path, "rb") as file:
            data = file.read()
        self._client.put_object(Bucket=self._bucket, Key=key, Body=data, ChecksumSHA256=_base64(part.sha256), **self._more())
        return len(data)

    def _put_parts(self, key: str, item: Item, size: int, parts: Sequence[Part]) -> int:
        upload, there = self._begun(key)
        if upload is None:
            upload = self._client.create_multipart_upload(Bucket=self._bucket, Key=key, ChecksumAlgorithm="SHA256", **self._more())[
                "UploadId"
            ]
        told = []
        sent = 0
        started = time.monotonic()
        with open(item.path, "rb") as file:
            for number, part in enumerate(parts, 1):
                text = _base64(part.sha256)
                etag = there.get(number)
                if etag is None or etag.strip('"') != part.md5.hex():
                    file.seek((number - 1) * size)
                    etag = self._client.upload_part(
                        Bucket=self._bucket,
                        Key=key,
                        UploadId=upload,
                        PartNumber=number,
                        Body=file.read(part.size),
                        ChecksumSHA256=text,
                    )["ETag"]
                    sent += part.size
                    if self._bandwidth:
                        time.sleep(max(0.0, sent / self._bandwidth - (time.monotonic() - started)))
                told.append({"PartNumber": number, "ETag": etag, "ChecksumSHA256": text})
        self._client.complete_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": told})
        return sent

    def _begun(self, key: str) -> Tuple[Optional[str], Dict[int, str]]:
        """The newest upload of this object that was cut, and the tags of its parts by their numbers."""
        found = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=key).get("Uploads") or []
        uploads = sorted((item for item in found if item["Key"] == key), key=lambda item: item["Initiated"])
        if not uploads:
            return None, {}
        upload = uploads[-1]["UploadId"]
        there: Dict[int, str] = {}
        for page in self._client.get_paginator("list_parts").paginate(Bucket=self._bucket, Key=key, UploadId=upload):
            for part in page.get("Parts", ()):
                there[part["PartNumber"]] = part["ETag"]
        return upload, there

    def fetch(self, name: str, folder: str) -> None:
        """Fetch every object of a set; one in an archive class is asked for, and that is told."""
        base = self._key(name) + "/"
        with _told():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=base)
            items = [item for page in pages for item in page.get("Contents", ())]
            archived = [item["Key"] for item in items if item.get("StorageClass") in ARCHIVED]
            asked = [key for key in archived if not self._readable(key)]
            if asked:
                raise CopyError("archived", "%d objects were asked for from their archive class; fetch again in some hours" % len(asked))
            for item in items:
                file = item["Key"][len(base) :]
                if not file or "/" in file or file.startswith("."):
                    continue
                handle = os.open(os.path.join(folder, file), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                with os.fdopen(handle, "wb") as target:
                    body = self._client.get_object(Bucket=self._bucket, Key=item["Key"])["Body"]
                    shutil.copyfileobj(body, target, 1 << 20)
        if not items:
            raise CopyError("missing", "there is no set %s below %s" % (name, self._key("") or self._bucket))

    def _readable(self, key: str) -> bool:
        told = self._client.head_object(Bucket=self._bucket, Key=key).get("Restore") or ""
        if 'ongoing-request="false"' in told:
            return True
        if "ongoing-request" not in told:
            self._client.restore_object(Bucket=self._bucket, Key=key, RestoreRequest={"Days": THAW_DAYS})
        return False


def _sums(path: str, size: int) -> Iterator[Part]:
    with open(path, "rb") as file:
        while True:
            sha256, md5, length = hashlib.sha256(), hashlib.md5(), 0
            while length < size:
                block = file.read(min(1 << 20, size - length))
                if not block:
                    break
                sha256.update(block)
                md5.update(block)
                length += len(block)
            if length or not file.tell():
                yield Part(length, sha256.digest(), md5.digest())
            if length < size:
                return


def _whole(sums: Sequence[bytes], kind: Callable[[bytes], Any]) -> bytes:
    """As S3 tells it: of one part its own sum, of more the sum of their sums."""
    return sums[0] if len(sums) == 1 else bytes(kind(b"".join(sums)).digest())


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """botocore's errors as ours; by their shape, for this file does not import it."""
    try:
        yield
    except CopyError:
        raise
    except OSError as error:
        raise CopyError("failed", "%s: %s" % (error.filename or "a file", error.strerror or error)) from error
    except Exception as error:
        response = getattr(error, "response", None)
        code = str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""
        kind = "unreachable" if response is None else "failed"
        if code in ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
            kind = "denied"
        elif code in ("404", "NoSuchBucket", "NoSuchKey"):
            kind = "missing"
        raise CopyError(kind, " ".join(str(error).split())[:300]) from error
