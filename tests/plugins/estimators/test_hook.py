"""Names without weight."""

from __future__ import annotations

import subprocess
import sys


def test_registering_imports_no_torch():
    code = (
        "import sys; from zobench_plugins import estimators; names = estimators.zobench_estimators();"
        "assert 'mezo' in names and 'torch' not in sys.modules, sorted(sys.modules)[:5]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
