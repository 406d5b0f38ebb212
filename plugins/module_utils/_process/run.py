# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs run to their end, with a time limit and an environment of their own."""

from __future__ import annotations

from typing import Callable, Sequence, Tuple

Run = Callable[[Sequence[str]], Tuple[int, str]]


def run_command(argv: Sequence[str], timeout: float = 120.0) -> Tuple[int, str]:
    """Exit status and output (both streams). 127: no such program; 124: it did not end in ``timeout`` seconds."""
    import subprocess

    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        )
    except FileNotFoundError:
        return 127, "%s: not installed" % argv[0]
    except OSError as error:
        return 126, "%s: %s" % (argv[0], error.strerror)
    except subprocess.TimeoutExpired:
        return 124, "%s: did not end within %d s" % (argv[0], timeout)
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()
