# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep secrets out of findings, records and reports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from ansible.errors import AnsibleError

try:  # ansible-core 2.19 and later: what came out of a vault carries a tag
    from ansible.parsing.vault import VaultedValue as _VaultedValue
except ImportError:  # pragma: no cover - depends on the ansible-core in use
    try:
        from ansible._internal._datatag._tags import VaultedValue as _VaultedValue
    except ImportError:
        _VaultedValue = None

MASK = "********"
_NAME = re.compile(
    r"passw|passphrase|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credential|authorization|cookie|webhook", re.IGNORECASE
)
_USERINFO = re.compile(r"(?<=://)[^/\s@\"']+@")
_QUERY = re.compile(r"([?&;](?:[^=&;\s]*(?:passw|secret|token|key|sig|auth|cred)[^=&;\s]*)=)[^&;\s#\"']+", re.IGNORECASE)

_PLACE = re.compile(r"_(?:file|path|dir|folder|url|host|user|name)\Z")
#: What Ansible adds to a host's variables.
_NOT_OF_HOST = frozenset({"hostvars", "vars", "groups", "ansible_facts", "ansible_failed_task", "ansible_failed_result", "environment"})
_ENCRYPTED = ("EncryptedString", "AnsibleVaultEncryptedUnicode")
#: A shorter text under a secret name of the inventory may be any word.
_LEAST = 6


def is_secret_name(name: str) -> bool:
    """Whether a variable, option or header of this name holds a secret."""
    return bool(_NAME.search(name))


def collect(value: Any, hidden: bool = False) -> set[str]:
    """The secrets in options: what a vault gave, values under secret names, user names and passwords in URLs."""
    found: set[str] = set()
    if isinstance(value, Mapping):
        for name, item in value.items():
            found |= collect(item, hidden or is_secret_name(str(name)))
    elif isinstance(value, (list, tuple)):
        for item in value:
            found |= collect(item, hidden)
    elif hidden and isinstance(value, int) and not isinstance(value, bool):
        found |= {str(value)} if len(str(value)) >= 6 else set()
    elif isinstance(value, str):
        if hidden or (_VaultedValue is not None and _VaultedValue.is_tagged_on(value)):
            found.add(str(value))
            found.update(word for word in value.split() if len(word) >= 8)
        for match in _USERINFO.finditer(value):
            password = match.group()[:-1].partition(":")[2]
            found.update({password, unquote(password)})
    return {secret for secret in found if len(secret) >= 3}


def of_variables(variables: Mapping[str, Any]) -> set[str]:
    """The secrets among a host's variables: what a vault holds, plain texts under secret names.

    A template may have put them into any option, where nothing tells any more what they were.
    """
    found: set[str] = set()
    for name, value in variables.items():
        if name not in _NOT_OF_HOST and not (isinstance(value, Mapping) and "changed" in value):
            found |= _of_variable(value, is_secret_name(str(name)) and not _PLACE.search(str(name)))
    return found


def _of_variable(value: Any, hidden: bool) -> set[str]:
    if isinstance(value, Mapping):
        inner = [_of_variable(item, hidden or (is_secret_name(str(name)) and not _PLACE.search(str(name)))) for name, item in value.items()]
        return set().union(*inner)
    if isinstance(value, (list, tuple)):
        return set().union(*(_of_variable(item, hidden) for item in value))
    if type(value).__name__ in _ENCRYPTED:
        try:
            return collect(str(value), hidden=True)
        except AnsibleError:  # it cannot be opened, so nobody has used it
            return set()
    if not isinstance(value, str):
        return collect(value, hidden)
    vaulted = _VaultedValue is not None and _VaultedValue.is_tagged_on(value)
    return collect(value, True) if vaulted or (hidden and len(value) >= _LEAST and "{{" not in value) else set()


def mask_text(value: str, secrets: Iterable[str] = ()) -> str:
    """``value`` with the secrets, user names in URLs and secret query parameters replaced."""
    for secret in sorted(secrets, key=len, reverse=True):
        value = value.replace(secret, MASK)
    return _QUERY.sub(rf"\g<1>{MASK}", _USERINFO.sub(f"{MASK}@", value))


def mask(value: Any, secrets: Iterable[str] = ()) -> Any:
    """The same structure with every text masked."""
    if isinstance(value, str):
        return mask_text(value, secrets)
    if isinstance(value, Mapping):
        return {mask(name, secrets): mask(item, secrets) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [mask(item, secrets) for item in value]
    return value
