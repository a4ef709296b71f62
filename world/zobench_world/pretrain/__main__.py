"""`python -m zobench_world.pretrain`."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
