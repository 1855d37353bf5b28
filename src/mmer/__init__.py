"""Multi-modal multi-label emotion recognition as a Kedro project."""

import os

# Threads that wait for work spin for a moment and then sleep: beside another process on the same
# cores, endless spinning makes a training step ten times slower. Read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# Nothing is told to anybody, however the program is started. Whoever wants to may set them first.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

__version__ = "0.1.0"
