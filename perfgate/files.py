"""A file written whole or not at all. Everything that this gate leaves on disk for others goes through here."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_whole(path: Path, text: str, *, make_folder: bool = True) -> None:
    """Write to a temporary file beside ``path``, then rename that over it; what was there before stays until then.

    Args:
        path: Where.
        text: All of it, in UTF-8, its line ends as they are.
        make_folder: Make the folder where there is none; else that is an OSError.

    Raises:
        OSError: The file system refused; nothing was left.
    """
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)  # mkstemp's 0600 is for secrets; this file is shared
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
