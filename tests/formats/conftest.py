"""The hostile pickles and mutations of `tests/fuzz` are for these tests as well."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))
