"""`python -m kits.pretend_cuda -m MODULE ARGUMENTS`: a module as `python -m` runs it, with a pretend device."""

import os
import runpy
import sys

from kits import pretend_cuda

if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] != "-m":
        raise SystemExit(__doc__)
    pretend_cuda.install(int(os.environ.get("PRETEND_DEVICES", "1")))
    from zobench.bench import ceilings

    ceilings.SIZES[True] = (2**22, 128)  # what would keep a GPU busy takes a CPU minutes
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
