"""Where artefacts lie beside a database, also after the folder of both was moved or copied.

MLflow writes the whole address of an artefact into its database, and every address is wrong once
the folder has another name. As artefacts lie beside the database (`artifacts_beside`), the
addresses can be put right: before MLflow opens a database, and before its pages are shown
(`python -m mmer.registry.moved DATABASE PORT`, which says where those are).
"""

from __future__ import annotations

import logging
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

_FOLDER = "mlartifacts"
_ADDRESSES = {
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
_SECONDS = 60  # until a database that another process writes to is given up

logger = logging.getLogger(__name__)


def artifacts_beside(database: Path) -> str:
    """The address of the folder of artefacts that belongs to a database."""
    return (database.resolve().parent / _FOLDER).as_uri()


def follow(database: Path) -> None:
    """Let the addresses in a database lead to the artefacts that lie beside it.

    New runs have their artefacts there. Those of earlier runs are looked for there unless they are
    still where they were, and not here. What cannot be written stays: MLflow will say so.
    """
    here = artifacts_beside(database)
    try:
        with closing(sqlite3.connect(database, timeout=_SECONDS)) as opened, opened:
            found = opened.execute("SELECT DISTINCT artifact_location FROM experiments")
            places = {str(one) for (one,) in found if str(one).endswith(f"/{_FOLDER}")}
            for place in places - {here}:
                opened.execute(
                    "UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?",
                    (here, place),
                )
            runs = [str(one) for (one,) in opened.execute("SELECT artifact_uri FROM runs")]
            places |= {one.rpartition(f"/{_FOLDER}/")[0] + f"/{_FOLDER}" for one in runs}
            for place in sorted(places - {here}):
                if _lie_here([one for one in runs if one.startswith(f"{place}/")], place, here):
                    _rewrite(opened, place, here)
                    logger.info("MLflow's artefacts were at %s; they are at %s", place, here)
    except sqlite3.Error as error:
        logger.debug("%s: %s", database, error)


def _lie_here(runs: list[str], place: str, here: str) -> bool:
    """Whether artefacts of runs are beside the database, or at least no more where they were."""
    new = [here + run.removeprefix(place) for run in runs]
    return any(map(_is_there, new)) or not any(map(_is_there, runs))


def _is_there(address: str) -> bool:
    return Path(url2pathname(urlsplit(address).path)).exists()


def _rewrite(opened: sqlite3.Connection, place: str, here: str) -> None:
    for table, columns in _ADDRESSES.items():
        for column in columns:
            opened.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                f" WHERE substr({column}, 1, ?) = ?",
                (here, len(place) + 1, len(place) + 1, f"{place}/"),
            )


def _told(database: Path, port: str) -> str:
    """Where MLflow's pages show the runs of each experiment; else they open for language models."""
    query = (
        "SELECT experiment_id, name FROM experiments WHERE lifecycle_stage = 'active'"
        " AND experiment_id IN (SELECT experiment_id FROM runs) ORDER BY last_update_time DESC"
    )
    with closing(sqlite3.connect(database)) as opened:
        found = list(opened.execute(query))
    width = max([len(name) for _, name in found], default=0)
    page = f"http://127.0.0.1:{port}/#/experiments/{{}}/runs?workflowType=machine_learning"
    return "\n".join(f"{name:{width}}  {page.format(number)}" for number, name in found)


if __name__ == "__main__":
    beside, at_port = Path(sys.argv[1]), sys.argv[2]
    if beside.is_file():
        follow(beside)
        print(_told(beside, at_port))
