"""One file out of an artifact that anybody may have made: read in memory, bounded, never unpacked. Pure."""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib
from typing import NoReturn

from perfgate.records import GateError

_MOST_MEMBERS = 100
_ENTRY = b"PK\x01\x02"
"""Begins each entry of a zip's list of members."""
_NAME = re.compile(r"\w[\w.-]{0,199}", re.ASCII)
_COMPRESSIONS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED = 0x1
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError, OverflowError)
"""What zipfile raises on bytes that are no zip, or one that contradicts itself."""


def member(data: bytes, name: str, *, most_bytes: int) -> bytes:
    """The content of one member of a zip.

    Args:
        data: The whole zip.
        name: The member's name, a plain one.
        most_bytes: Of the content; more is neither accepted nor unpacked.

    Raises:
        GateError: ``bad-artifact`` for a zip that is broken, large, or holds more than plain files with plain names.
    """
    # Counted before zipfile builds an object for each.
    if data.count(_ENTRY) > _MOST_MEMBERS:
        _refuse("has too many members", f"at most {_MOST_MEMBERS}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            info = _only(archive.infolist(), name)
            if info.file_size > most_bytes:
                _refuse(f"holds {info.file_size} bytes of {name}", f"at most {most_bytes}")
            with archive.open(info) as file:
                content = file.read(most_bytes + 1)
    except _BROKEN:
        _refuse("is broken", "a whole zip")
    if len(content) != info.file_size:
        _refuse(f"holds {len(content)} bytes of {name}", f"{info.file_size} as it says itself")
    return content


def _only(members: list[zipfile.ZipInfo], name: str) -> zipfile.ZipInfo:
    for info in members:
        mode = info.external_attr >> 16
        if not _NAME.fullmatch(info.orig_filename):  # `filename` is cut at a NUL
            _refuse("has a member whose name is not plain", "names without a path")
        if stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
            _refuse("has a member that is no file", "plain files")
    found = [info for info in members if info.filename == name]
    if len(found) != 1:
        _refuse(f"has {len(found)} members named {name}", "one")
    if found[0].flag_bits & _ENCRYPTED:
        _refuse(f"has an encrypted {name}", "a plain one")
    if found[0].compress_type not in _COMPRESSIONS:
        _refuse(f"has {name} in compression {found[0].compress_type}", "stored or deflated")
    return found[0]


def _refuse(found: str, expected: str) -> NoReturn:
    raise GateError("bad-artifact", f"The artifact {found}, expected {expected}; run again.")
