# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Import of files that an application wrote while MongoDB was away: all documents of an import or none.

Files are JSON: a list, one object, or an object a line; extended JSON tells types that JSON has not. A document without an
id gets one made of its content, so that a second import finds it. Documents that are there already, by id or by the keys of
the import, are told and left alone.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import math
import os
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import findings
from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, unknown_name

from . import bson
from .client import Address, Client, MongoError, batches, connected, database_name

#: What the files of an import may have together: all documents are in memory, eight times as large, before the first is inserted.
_LARGEST = 256 << 20
_LARGEST_DOCUMENT = 16 << 20
_SHOWN = 20
_CHUNK = 500
_DUPLICATES = ("skip", "fail")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


#: Types that a field may be wanted to have.
TYPES: Mapping[str, Callable[[Any], bool]] = {
    "any": lambda value: True,
    "string": lambda value: isinstance(value, str),
    "number": _is_number,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "date": lambda value: isinstance(value, bson.DateTime),
    "objectid": lambda value: isinstance(value, bson.ObjectId),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
}


class Import(NamedTuple):
    """What is to be imported. ``fields``: wanted fields and their types, of which texts become dates and ids where those are
    wanted; ``keys``: fields that identify a document; ``duplicates``: ``skip`` or ``fail``."""

    name: str
    files: Tuple[str, ...]
    database: str
    collection: str
    fields: Mapping[str, str]
    keys: Tuple[str, ...]
    duplicates: str
    remedy: Optional[str]


class Options(NamedTuple):
    """The server and what is imported."""

    address: Address
    imports: Tuple[Import, ...]


class Result(NamedTuple):
    """What an import did. ``dry``: it was only looked at."""

    what: Import
    found: findings.Finding
    inserted: int
    duplicates: int
    dry: bool


class ImportFailedError(Exception):
    """Why an import cannot be made: ``message`` id, its parameters, evidence."""

    def __init__(self, message: str, params: Mapping[str, Any], evidence: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.message, self.params, self.evidence = message, params, evidence


def _fields(value: Any, path: str) -> Dict[str, str]:
    found = read.mapping(value, path)
    for name, kind in found.items():
        if kind not in TYPES:
            raise unknown_name("%s.%s" % (path, name), str(kind), TYPES, "type")
    return {name: str(kind) for name, kind in found.items()}


_ITEM: Mapping[str, read.Reader] = {
    "name": read.name,
    "files": read.absolutes,
    "database": database_name,
    "collection": read.text,
    "fields": _fields,
    "keys": read.texts,
    "duplicates": read.choice(*_DUPLICATES),
    "remedy": read.text,
}


def parse(options: Mapping[str, Any]) -> Options:
    """Read the module's options. Raises OptionError."""
    imports = [
        Import(
            item["name"],
            tuple(item["files"]),
            item["database"],
            item["collection"],
            item.get("fields", {}),
            tuple(item.get("keys", ())),
            item.get("duplicates", "skip"),
            item.get("remedy"),
        )
        for item in read.read_items(options.get("imports"), "imports", _ITEM, ("name", "files", "database", "collection"))
    ]
    user, password = options.get("login_user"), options.get("login_password")
    if bool(user) != bool(password):
        raise OptionError("login_password" if user else "login_user", "is needed with the other one")
    address = Address(
        str(options.get("login_host") or "127.0.0.1"),
        read.port(options.get("login_port") or 27017, "login_port"),
        user,
        password,
        str(options.get("login_database") or "admin"),
        options.get("ca_file"),
        read.duration(options.get("timeout") or "30s", "timeout"),
    )
    return Options(address, tuple(imports))


def run(options: Options, dry: bool) -> List[Result]:
    """Make each import; one that fails does not stop the others."""
    return [_run_one(options.address, item, dry) for item in options.imports]


def _run_one(address: Address, item: Import, dry: bool) -> Result:
    known = 0
    try:
        with contextlib.ExitStack() as held:
            files = _files(item)
            if not files:
                return _result(item, "ok", "mongodb_import.no_files", {}, {}, 0, 0, dry)
            if not dry:
                _hold(held, files)
            documents = _documents(item, files)
            with connected(address) as client:
                new, known = _new(client, item, documents)
                if known and item.duplicates == "fail":
                    raise ImportFailedError("mongodb_import.duplicates", {"count": known}, {"import_files": files})
                if not dry:
                    _insert(client, item, new)
    except ImportFailedError as error:
        return _result(item, "critical", error.message, error.params, error.evidence, error.params.get("left", 0), known, dry)
    except MongoError as error:
        return _result(item, "critical", "mongodb_import.failed", {"error": str(error)}, {}, 0, known, dry)
    params = {"count": len(new), "known": known}
    name = "mongodb_import.nothing" if not new else "mongodb_import.would" if dry else "mongodb_import.done"
    return _result(item, "ok", name, params, {"import_files": files}, len(new), known, dry)


def _result(
    item: Import, status: str, name: str, params: Mapping[str, Any], evidence: Mapping[str, Any], count: int, known: int, dry: bool
) -> Result:
    told = findings.message(name, collection="%s.%s" % (item.database, item.collection), **params)
    found = findings.finding(
        "mongodb_import.%s" % item.name, "mongodb_import", status, told, value=count, evidence=evidence, remedy=item.remedy
    )
    return Result(item, found, count, known, dry)


def _files(item: Import) -> List[str]:
    """The files of an import. ImportFailedError when one that is named is not there."""
    files = sorted({path for pattern in item.files for path in glob.glob(pattern)})
    for pattern in item.files:
        if not glob.has_magic(pattern) and pattern not in files:
            raise _unreadable("%s is not there" % pattern)
    try:
        size = sum(os.path.getsize(path) for path in files)
    except OSError as error:
        raise _unreadable("%s: %s" % (error.filename, error.strerror or error)) from None
    if size > _LARGEST:
        raise _unreadable("%d files have %d bytes, an import may have %d: import some of them at a time" % (len(files), size, _LARGEST))
    return files


def _hold(held: contextlib.ExitStack, files: Sequence[str]) -> None:
    """Keep another import of these folders out: each would take the other's documents for its own when it takes them back."""
    import fcntl

    for folder in sorted({os.path.dirname(path) for path in files}):
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            held.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _unreadable("another import of %s is under way" % folder) from None
        except OSError as error:
            raise _unreadable("%s: %s" % (folder, error.strerror or error)) from None


def _documents(item: Import, files: Sequence[str]) -> List[Dict[str, Any]]:
    """All documents of the files, checked. ImportFailedError with what is wrong, of all files."""
    documents: List[Dict[str, Any]] = []
    problems: List[str] = []
    for path in files:
        for place, value in _values(path):
            document, problem = _checked(item, value)
            if problem:
                problems.append("%s: %s: %s" % (os.path.basename(path), place, problem))
            else:
                documents.append(document)
    if problems:
        raise ImportFailedError("mongodb_import.invalid", {"count": len(problems)}, {"import_problems": problems[:_SHOWN]})
    return documents


def _unreadable(error: str) -> ImportFailedError:
    return ImportFailedError("mongodb_import.unreadable", {"error": error}, {})


class _LossError(Exception):
    """JSON that says more than can be kept of it."""


def _values(path: str) -> Iterator[Tuple[str, Any]]:
    """The values of a file and where each is."""
    try:
        with open(path, "rb") as file:
            text = file.read().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable("%s: %s" % (path, error)) from None
    try:
        found = _parsed(text)
    except _LossError as error:
        raise _unreadable("%s: %s" % (path, error)) from None
    except (ValueError, RecursionError) as whole:
        # Only a line feed ends a line: a text may hold what else is called one.
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        if len(lines) < 2:
            raise _unreadable("%s is no JSON: %s" % (path, whole)) from None
        for number, line in lines:
            try:
                value = _parsed(line)
            except _LossError as error:
                raise _unreadable("%s: line %d: %s" % (path, number, error)) from None
            except (ValueError, RecursionError):
                raise _unreadable("%s: line %d is no JSON" % (path, number)) from None
            yield "line %d" % number, value
        return
    for at, value in enumerate(found if isinstance(found, list) else [found], 1):
        yield "document %d" % at, value


def _parsed(text: str) -> Any:
    return json.loads(text, parse_constant=_no_constant, parse_float=_float, object_pairs_hook=_object)


def _no_constant(name: str) -> Any:
    raise ValueError("%s is no number" % name)


def _float(text: str) -> float:
    found = float(text)
    if math.isinf(found):
        raise _LossError("%s is too large for a number" % text[:40])
    return found


def _object(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _value in pairs]
        raise _LossError("an object has the key %r twice" % next(name for name in names if names.count(name) > 1))
    return found


def _checked(item: Import, value: Any) -> Tuple[Dict[str, Any], str]:
    """The document and what is wrong with it."""
    if not isinstance(value, dict):
        return {}, "it is no object"
    try:
        document = bson.from_json(value)
        if not isinstance(document, dict):
            return {}, "it is no object"
        for name, kind in item.fields.items():
            if name not in document:
                return {}, "the field %s is missing" % name
            document[name] = _as(document[name], kind)
            if not TYPES[kind](document[name]):
                return {}, "the field %s is no %s: %s" % (name, kind, bson.shown(document[name]))
        missing = [name for name in item.keys if name not in document]
        if missing:
            return {}, "the key %s is missing" % missing[0]
        if "_id" not in document:
            made = hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode("ascii")).digest()[:12]
            document["_id"] = bson.ObjectId(made)
        # The server puts the id first.
        document = {"_id": document.pop("_id"), **document}
        json.dumps(value, ensure_ascii=False).encode("utf-8")
        if len(bson.encode(document)) > _LARGEST_DOCUMENT:
            return {}, "it is larger than a document can be"
    except UnicodeEncodeError:
        return {}, "a text holds half a character"
    except RecursionError:
        return {}, "it is nested too deep"
    except bson.BsonError as error:
        return {}, str(error)
    return document, ""


def _as(value: Any, kind: str) -> Any:
    """Texts that are wanted as dates or ids; what cannot be is left for the check."""
    if kind == "date" and isinstance(value, str):
        return bson.parse_date(value)
    if kind == "objectid" and isinstance(value, str) and len(value) == 24:
        return bson.from_json({"$oid": value})
    return value


def _new(client: Client, item: Import, documents: Sequence[Dict[str, Any]]) -> Tuple[List[Dict[str, Any]], int]:
    """The documents that are neither on the server nor earlier in the files, and how many are."""
    seen: Set[bytes] = set()
    once = []
    for document in documents:
        marks = [_mark([document["_id"]], b"id")]
        if item.keys:
            marks.append(_mark([document[name] for name in item.keys], b"keys"))
        if not seen.intersection(marks):
            once.append(document)
        seen.update(marks)
    there: Set[bytes] = set()
    for at in range(0, len(once), _CHUNK):
        chunk = once[at : at + _CHUNK]
        for found in client.find(item.database, item.collection, {"_id": {"$in": [document["_id"] for document in chunk]}}, 0, ["_id"]):
            there.add(_mark([found["_id"]], b"id"))
        if item.keys:
            queries = [{name: document[name] for name in item.keys} for document in chunk]
            for found in client.find(item.database, item.collection, {"$or": queries}, 0, item.keys):
                there.add(_mark([found.get(name) for name in item.keys], b"keys"))
    new = [
        document
        for document in once
        if _mark([document["_id"]], b"id") not in there
        and not (item.keys and _mark([document[name] for name in item.keys], b"keys") in there)
    ]
    return new, len(documents) - len(new)


def _mark(values: Sequence[Any], kind: bytes) -> bytes:
    """The same for values that the server takes for equal: 1, 1.0 and a long 1 are."""
    plain = [
        int(value) if _is_number(value) and not math.isnan(value) and abs(value) < 1 << 53 and value == int(value) else value
        for value in values
    ]
    return hashlib.sha256(kind + bson.encode({"": plain})).digest()


def _insert(client: Client, item: Import, documents: Sequence[Dict[str, Any]]) -> None:
    """Insert all; when the server refuses one, or goes away, what was inserted is taken back."""
    tried: List[Mapping[str, Any]] = []
    try:
        for batch in batches(documents):
            tried += batch
            client.insert(item.database, item.collection, batch)
    except MongoError as error:
        if error.written is not None:
            # The one that was refused is somebody else's: he has inserted it since we looked.
            del tried[len(tried) - len(batch) + error.written :]
        left = _take_back(client, item, tried)
        name = "mongodb_import.half" if left else "mongodb_import.failed"
        raise ImportFailedError(name, {"error": str(error), **({"left": left} if left else {})}, {}) from None


def _take_back(client: Client, item: Import, documents: Sequence[Mapping[str, Any]]) -> int:
    """Remove documents that are there just as they were inserted; how many may be left."""
    left = len(documents)
    for again in range(2):
        try:
            with connected(client.address) as other:
                left = 0
                for at in range(0, len(documents), _CHUNK):
                    left += _take_back_some(other, item, documents[at : at + _CHUNK])
            return left
        except MongoError:
            left = len(documents)
            if again:
                break
    return left


def _take_back_some(client: Client, item: Import, documents: Sequence[Mapping[str, Any]]) -> int:
    ours = {_mark([document["_id"]], b"id"): bson.encode(document) for document in documents}
    ids, left = [], 0
    for found in client.find(item.database, item.collection, {"_id": {"$in": [document["_id"] for document in documents]}}):
        if ours.get(_mark([found["_id"]], b"id")) == bson.encode(found):
            ids.append(found["_id"])
        else:
            left += 1  # somebody has changed it since, or it is his
    if ids:
        client.delete(item.database, item.collection, ids)
    return left
