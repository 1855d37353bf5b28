"""What Kedro needs to know of this project."""

from mmer.hooks import ClosingSummary, DefaultParameters, MlflowTracking

# The last is called first: the summary is to be what stands at the end.
HOOKS = (ClosingSummary(), MlflowTracking(), DefaultParameters())
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft"},
}
