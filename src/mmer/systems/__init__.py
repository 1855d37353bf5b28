"""The systems that can be trained and compared. To add one: a folder here, and a line below."""

from mmer.systems.carat.system import CaratSystem
from mmer.systems.constant.system import AllPositive, LabelPrior
from mmer.systems.contract import System
from mmer.systems.linear.system import LogisticRegressionSystem
from mmer.systems.pooled.system import PooledSystem
from mmer.systems.ramer.system import RamerSystem

_ALL: tuple[System, ...] = (
    CaratSystem(),
    RamerSystem(),
    PooledSystem(),
    LogisticRegressionSystem(),
    LabelPrior(),
    AllPositive(),
)
SYSTEMS: dict[str, System] = {system.name: system for system in _ALL}
"""Name -> system, in the order of tables; `train_<corpus>` trains the first."""
