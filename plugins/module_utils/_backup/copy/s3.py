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
import functools
import hashlib
import os
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import set_names
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream

from .. import manifest as backup_manifest
from .. import sets as backup_sets
from .store import CopyError, Item, Pace, Sent, Store, other

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
        self._pace = Pace(bandwidth)

    def _key(self, *names: str) -> str:
        return "/".join(name for name in (self._prefix, *names) if name)

    def present(self) -> List[str]:
        """Names whose manifest is there."""
        with _told():
            return sorted((name for name, files in self._listed().items() if backup_manifest.MANIFEST in files), reverse=True)

    def held(self) -> Dict[str, str]:
        """Those with the sums of the manifests as the service gives them back."""
        return {name: backup_sets.sha256(self.manifest(name)) for name in self.present()}

    def _listed(self, name: str = "") -> Dict[str, Dict[str, str]]:
        """The sets that have objects: their files with their storage classes. ``name``: of this set only."""
        found: Dict[str, Dict[str, str]] = {}
        base = self._key("") + ("/" if self._prefix else "")
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=base + (name and name + "/"))
        for page in pages:
            for item in page.get("Contents", ()):
                own, slash, file = item["Key"][len(base) :].partition("/")
                if slash and file and set_names.name_time(own) is not None:
                    found.setdefault(own, {})[file] = str(item.get("StorageClass") or "")
        return found

    def send(self, name: str, items: Sequence[Item]) -> Sent:
        """Send what is not there yet, file by file."""
        with _told():
            there = self._listed(name).get(name, {})
        if backup_manifest.MANIFEST in there and backup_sets.sha256(self.manifest(name)) != items[-1].sha256:
            raise other(name)
        with _told():
            sent = sum(self._send(name, item) for item in items)
        return Sent(len(items), sum(item.size for item in items), sent, "sum told by the service")

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

    def _more(self, key: str) -> Dict[str, Any]:
        # A manifest must be readable at once, to tell what is there.
        return {"StorageClass": self._class} if self._class and not key.endswith("/" + backup_manifest.MANIFEST) else {}

    def _put(self, key: str, item: Item, part: Part) -> int:
        with open(item.path, "rb") as file:
            data = file.read()
        self._client.put_object(Bucket=self._bucket, Key=key, Body=data, ChecksumSHA256=_base64(part.sha256), **self._more(key))
        self._pace.passed(len(data))
        return len(data)

    def _put_parts(self, key: str, item: Item, size: int, parts: Sequence[Part]) -> int:
        upload, there = self._begun(key)
        if upload is None:
            begun = self._client.create_multipart_upload(Bucket=self._bucket, Key=key, ChecksumAlgorithm="SHA256", **self._more(key))
            upload = begun["UploadId"]
        told = []
        sent = 0
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
                    self._pace.passed(part.size)
                told.append({"PartNumber": number, "ETag": etag, "ChecksumSHA256": text})
        self._client.complete_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": told})
        return sent

    def _begun(self, key: str) -> Tuple[Optional[str], Dict[int, str]]:
        """The newest upload of this object that was cut, and the tags of its parts by their numbers; older ones are given up."""
        uploads = self._uploads(key)
        for older in uploads[:-1]:
            self._abort(older)
        if not uploads:
            return None, {}
        upload = uploads[-1]["UploadId"]
        there: Dict[int, str] = {}
        for page in self._client.get_paginator("list_parts").paginate(Bucket=self._bucket, Key=key, UploadId=upload):
            for part in page.get("Parts", ()):
                there[part["PartNumber"]] = part["ETag"]
        return upload, there

    def _uploads(self, start: str) -> List[Dict[str, Any]]:
        """Uploads that were begun, oldest first, of the object of this name, or below it when it ends in a slash or is empty."""
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=start)
        found = [item for page in pages for item in page.get("Uploads") or ()]
        if start and not start.endswith("/"):
            found = [item for item in found if item["Key"] == start]
        return sorted(found, key=lambda item: item["Initiated"])

    def _abort(self, upload: Mapping[str, Any]) -> None:
        self._client.abort_multipart_upload(Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"])

    def manifest(self, name: str) -> bytes:
        """The manifest as the service gives it back."""
        with _told():
            body = self._client.get_object(Bucket=self._bucket, Key=self._key(name, backup_manifest.MANIFEST))["Body"]
            return bytes(body.read(backup_manifest.SIZE_LIMIT + 1))

    def fetch(self, name: str, files: Sequence[str], folder: str) -> None:
        """Fetch objects of a set; one in an archive class is asked for, and that is told."""
        with _told():
            there = self._listed(name).get(name, {})
            asked = [file for file in files if there.get(file) in ARCHIVED and not self._readable(self._key(name, file))]
            if asked:
                raise CopyError("archived", "%d objects were asked for from their archive class; fetch again in some hours" % len(asked))
            for file in files:
                if file not in there:
                    raise CopyError("missing", "%s is not there" % self._key(name, file))
                handle = os.open(os.path.join(folder, file), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                with os.fdopen(handle, "wb") as target:
                    body = self._client.get_object(Bucket=self._bucket, Key=self._key(name, file))["Body"]
                    for block in iter(functools.partial(body.read, 1 << 20), b""):
                        target.write(block)
                        self._pace.passed(len(block))

    def remove(self, name: str, manifest: str) -> None:
        """Remove its manifest."""
        if backup_sets.sha256(self.manifest(name)) != manifest:
            raise other(name)
        with _told():
            self._client.delete_object(Bucket=self._bucket, Key=self._key(name, backup_manifest.MANIFEST))

    def leftovers(self) -> List[str]:
        """Sets with objects but no manifest, and such as uploads were begun of."""
        base = self._key("") + ("/" if self._prefix else "")
        with _told():
            found = {name for name, files in self._listed().items() if backup_manifest.MANIFEST not in files}
            begun = {item["Key"][len(base) :].partition("/")[0] for item in self._uploads(base)}
        return sorted(found | {name for name in begun if set_names.name_time(name) is not None})

    def discard(self, name: str) -> None:
        """Remove the objects of a set that has no manifest, and give up uploads."""
        with _told():
            for upload in self._uploads(self._key(name) + "/"):
                self._abort(upload)
            files = self._listed(name).get(name, {})
            for file in files if backup_manifest.MANIFEST not in files else ():
                self._client.delete_object(Bucket=self._bucket, Key=self._key(name, file))

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
