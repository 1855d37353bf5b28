"""Multi-modal multi-label emotion recognition as a Kedro project."""

import os

# Threads that wait for work sleep instead of spinning: beside another process on the same cores,
# spinning makes a training step ten times slower. Read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
