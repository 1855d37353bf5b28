"""One of two processes that nominate and promote at the same moment, in turns; run by a test.

Arguments: its number (0 or 1), how many turns, the folder that both use, and whether they are held
apart by the lock of one machine ("yes") or not ("no", as on two machines).
"""

from __future__ import annotations

import json
import pickle
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from mlflow.models import Model

from mmer.evaluation.promotion import PromotionSettings, decide
from mmer.registry import champions, versions
from mmer.registry.servable import ServableModel
from mmer.systems.storage import save_fitted

ME, TURNS, FOLDER = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])


def save_lightly(servable: ServableModel, folder: Path, metadata: Model) -> None:
    """What is raced for is the registry, not the disk."""
    folder.mkdir()
    save_fitted(servable.fitted, folder / "system.safetensors")
    metadata.save(folder / "MLmodel")


def together(what: str) -> None:
    """Wait until the other one is here too."""
    (FOLDER / f"{what}-{ME}").touch()
    while not (FOLDER / f"{what}-{1 - ME}").exists():
        time.sleep(0.002)


def main() -> None:
    versions.save = save_lightly
    if sys.argv[4] == "no":
        versions.locked = lambda path, waiting: nullcontext()
    nominees = pickle.loads((FOLDER / "nominees").read_bytes())
    settings, said = PromotionSettings(synthetic=True), []
    for turn in range(TURNS):
        name, mine = f"toy_{turn}", nominees[turn % 3 + ME]
        together(f"train-{turn}")
        numbers = [versions.nominate(mine, name), versions.nominate(nominees[0], name)]
        together(f"promote-{turn}")
        decision = decide(champions.contenders(name), settings, mine.evaluation)
        table = champions.decided(decision)
        together(f"done-{turn}")
        said.append([numbers, decision.verdict, table.champion])
    print(json.dumps(said))


if __name__ == "__main__":
    main()
