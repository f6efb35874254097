"""`python -m proxycore` is the command `proxycore`."""

import sys

from proxycore.program.cli import main

if __name__ == "__main__":
    sys.exit(main())
