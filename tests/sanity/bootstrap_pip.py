# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put pip into the environment that ansible-test makes: from the interpreter's own copy, where it would download one."""

import ensurepip
import os
import subprocess
import sys

# Options of the bootstrap script that pip itself does not know.
FOREIGN = {"--no-setuptools", "--no-wheel"}


def main() -> int:
    ensurepip.bootstrap(upgrade=True)
    # ensurepip switches pip's settings off for its process and what that starts.
    environment = {name: value for name, value in os.environ.items() if name != "PIP_CONFIG_FILE"}
    wanted = [word for word in sys.argv[1:] if word not in FOREIGN]
    return subprocess.call([sys.executable, "-m", "pip", "install", *wanted], env=environment) if wanted else 0


sys.exit(main())
