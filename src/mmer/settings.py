"""What Kedro needs to know of this project."""

from mmer.hooks import AskedCells, DefaultParameters, MlflowTracking, SameTables

# The last is called first.
HOOKS = (MlflowTracking(), SameTables(), DefaultParameters(), AskedCells())
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft"},
}
