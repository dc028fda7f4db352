"""Standard input and output in UTF-8, whatever the locale is."""

from __future__ import annotations

import io
import os
import sys

from whichbits.core.errors import UserError


def speak_utf8() -> None:
    """Have files and paths read as UTF-8, and output that a terminal cannot show replaced. Called first, by a program of ours.

    In a locale that is not UTF-8 (LC_ALL=C with Python's own help switched off, latin-1) libraries open files in that encoding,
    so the program starts itself again in Python's UTF-8 mode. Raises UserError for an argument that is not UTF-8.
    """
    _open_closed_streams()
    if not sys.flags.utf8_mode and _foreign_locale() and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")
    for argument in sys.argv[1:]:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            shown = os.fsencode(argument).decode(errors="replace")
            raise UserError(f"{shown} is not UTF-8", remedy="rename the file, or link to it by a name in UTF-8") from error


def _open_closed_streams() -> None:
    """Let a standard stream that is closed (`>&-`, some daemons) lead nowhere: Python has None for it.

    The next file to be opened would get its number, and what a library prints.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _foreign_locale() -> bool:
    """Whether files are opened in another encoding than UTF-8 unless one is named, or file names are read so."""
    import codecs
    import locale

    names = (locale.getpreferredencoding(False), sys.getfilesystemencoding())
    return any(codecs.lookup(name).name != "utf-8" for name in names)
