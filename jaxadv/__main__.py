"""`python -m jaxadv`: the command `jaxadv`."""

import sys

from jaxadv.commands import main

if __name__ == "__main__":
    sys.exit(main())
