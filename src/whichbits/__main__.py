"""`python -m whichbits`, without the working directory, which `-m` puts first on the import path."""

import sys
from os import getcwd

# Not Path.cwd(): pathlib would be imported from there.
if not sys.flags.safe_path and sys.path[:1] == [getcwd()]:  # noqa: PTH109
    del sys.path[0]

from whichbits.cli import main

main()
