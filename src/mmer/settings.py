"""What Kedro needs to know of this project."""

from mmer.hooks import MlflowTracking

HOOKS = (MlflowTracking(),)
CONFIG_LOADER_ARGS = {"base_env": "base", "default_run_env": "local"}
