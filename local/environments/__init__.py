"""The environments that commands run in, installed into this folder: `python -m local.environments NAME ...`.

This imports only the standard library, because it runs before anything is installed.
"""

import sys

if not (3, 11) <= sys.version_info < (3, 14):  # an older Python reads only this module
    version = ".".join(map(str, sys.version_info[:3]))
    sys.exit(f"Python 3.11 to 3.13 is needed, this is {version}: try make PYTHON=python3.12")
