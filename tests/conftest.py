# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every test is closed in: it has a home, a folder for temporary files and a place for its state that are its own.

What reaches for the places of the user who runs the tests fails, whichever way it found them.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

# Kept for the processes of pytest-xdist, which find themselves closed in.
REAL_TMP = os.environ.setdefault("TESTS_REAL_TMPDIR", tempfile.gettempdir())
REAL_HOME = os.environ.setdefault("TESTS_REAL_HOME", os.path.expanduser("~"))
#: What belongs to the user's own opsrunner, not to a test.
FORBIDDEN = (
    os.path.join(REAL_TMP, "opsrunner-%d" % os.getuid()),
    os.path.join(REAL_HOME, ".local", "state", "opsrunner"),
    os.path.join(REAL_HOME, ".cache", "opsrunner"),
    os.path.join(REAL_HOME, ".config", "opsrunner"),
    "/var/lib/opsrunner",
)
_EVENTS = frozenset(
    {"open", "os.mkdir", "os.listdir", "os.scandir", "os.remove", "os.rename", "os.rmdir", "os.chmod", "os.link", "os.symlink"}
)
#: Places of a host that are no option of what reads them: below it in the test's own place instead.
_UTILS = "ansible_collections.opsrunner.runbook.plugins.module_utils."
_FIXED = (("_backup.make", "_JOURNALS"), ("_backup.journal", "FOLDER"), ("_restore.loss", "FOLDER"), ("_lease.store", "FOLDER"))
_touched: list[str] = []


def _watch(event: str, args: tuple[object, ...]) -> None:
    if event in _EVENTS and args and isinstance(args[0], (str, bytes)):
        path = os.path.abspath(os.fsdecode(args[0]))
        if path.startswith(FORBIDDEN):
            _touched.append("%s %s" % (event, path))


def _close_in(environment: pytest.MonkeyPatch) -> Path:
    """An own place for everything that is looked for in the environment. Its path is short: sockets lie in it."""
    # Other users, whom a test's servers run as, may pass through and make files.
    place = Path(tempfile.mkdtemp(prefix="t", dir=REAL_TMP))
    place.chmod(0o1777)
    home = place / "home"
    home.mkdir(mode=0o700)
    environment.setenv("HOME", str(home))
    environment.setenv("TMPDIR", str(place))
    environment.setattr(tempfile, "tempdir", str(place))
    for name, folder in (("STATE", ".local/state"), ("CACHE", ".cache"), ("CONFIG", ".config"), ("DATA", ".local/share")):
        environment.setenv("XDG_%s_HOME" % name, str(home / folder))
    for name in [name for name in os.environ if name.startswith("OPSRUNNER_")]:
        environment.delenv(name)
    for module, name in _FIXED:
        if _UTILS + module in sys.modules:
            folder = getattr(sys.modules[_UTILS + module], name)
            environment.setattr(sys.modules[_UTILS + module], name, str(place / "host") + folder[folder.rindex("/") :])
    return place


_session = pytest.MonkeyPatch()
_places: list[Path] = []


def pytest_configure(config: pytest.Config) -> None:
    """Close in what is made for many tests at once, too."""
    # Kept where they were, to be looked into after a failure; packages need not be fetched again.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", REAL_TMP)
    os.environ.setdefault("PIP_CACHE_DIR", os.path.join(REAL_HOME, ".cache", "pip"))
    _places.append(_close_in(_session))
    sys.addaudithook(_watch)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing behind."""
    _session.undo()
    for place in _places:
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(autouse=True)
def closed_in():
    """The test's own place. It has a patch of its own: pytest's is to be undone before the fixtures that a test names end."""
    environment = pytest.MonkeyPatch()
    place = _close_in(environment)
    _touched.clear()
    yield place
    environment.undo()
    shutil.rmtree(place, ignore_errors=True)
    touched = sorted(set(_touched))
    _touched.clear()
    assert touched == [], "the test has reached for the user's own places"


@pytest.fixture
def touched() -> list[str]:
    """What the test has reached for that is not its own."""
    return _touched
