"""A copy of the files of this tree, without anything that was installed."""

import shutil
import subprocess
from pathlib import Path

from local.stack.process import ROOT

LISTED = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")


def copy_files(folder: Path) -> Path:
    """Copy what git tracks, or would track, into an empty folder. Return the folder."""
    names = subprocess.run(LISTED, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (source := ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    return folder
