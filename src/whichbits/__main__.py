"""`python -m whichbits`, without the working directory, which `-m` puts first on the import path."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # before anything else is imported; `protect_program` is too late for what the command line imports

from whichbits.cli.app import main

main()
