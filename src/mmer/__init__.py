"""Multi-modal multi-label emotion recognition as a Kedro project."""

import os

# Threads that wait for work spin for a moment and then sleep: beside another process on the same
# cores, endless spinning makes a training step ten times slower. Read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"
