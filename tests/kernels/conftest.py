"""The tests of engines share the small estimator, model and run of the tests of the core."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "zo"))
