"""What Kedro needs to know of this project."""

import warnings

from mmer.hooks import MlflowTracking

# Kedro 1.7 calls OmegaConf by an old name; nothing that a user of mmer could change.
warnings.filterwarnings("ignore", message=r"\s*register_new_resolver\(\) is deprecated")

HOOKS = (MlflowTracking(),)
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft"},
}
