"""Hooks that `azd` runs with a deployment. They use only the standard library, so they need no environment.

Python runs this file before it reads a hook. So an older Python gets one line and not the traceback of a hook.
"""

import sys

if sys.version_info < (3, 9):  # noqa: UP036 - the Python of whoever deploys, and not that of the project
    sys.exit(
        "azd's hooks need Python 3.9 or newer, and this is %d.%d (%s). Install one, and put it first on the path."  # noqa: UP031
        % (sys.version_info[0], sys.version_info[1], sys.executable)
    )
