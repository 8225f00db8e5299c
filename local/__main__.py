"""`python -m local`. It says what to do where the libraries are not installed, and imports none of them before."""

import sys

OURS = {"functions", "local", "shared"}

if __name__ == "__main__":
    try:
        from local.commands import main
    except ModuleNotFoundError as missing:
        if str(missing.name).partition(".")[0] in OURS:
            raise
        python = r".venv\Scripts\python" if sys.platform == "win32" else ".venv/bin/python"
        sys.exit(f"{missing.name} is not installed: run python3 -m local.environments app, then {python} -m local")
    sys.exit(main())
