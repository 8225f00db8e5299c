"""The environments that commands run in, installed into this folder: `python -m local.environments NAME ...`.

This imports only the standard library, because it runs before anything is installed.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - an older Python reads only this module
    version = ".".join(map(str, sys.version_info[:3]))
    sys.exit(f"Python 3.11 or later is needed, this is {version}: try make PYTHON=python3.12")
