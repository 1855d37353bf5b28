"""The containers run what the lock files name, and no secret stands in their file."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = (ROOT / "compose.yaml").read_text(encoding="utf-8")


def test_the_server_in_a_container_is_the_one_that_is_tested():
    pinned = re.findall(r"([\w-]+)==([\w.]+)", COMPOSE)
    locked = {
        line.strip()
        for name in ("requirements.lock", "requirements-server.lock")
        for line in (ROOT / name).read_text().splitlines()
    }
    assert {name for name, _ in pinned} == {"mlflow", "psycopg2-binary"}
    assert {f"{name}=={version}" for name, version in pinned} <= locked


def test_secrets_come_from_a_file_that_is_not_kept():
    services = yaml.safe_load(COMPOSE)["services"]
    given = {k: v for one in services.values() for k, v in one["environment"].items()}
    secrets = {name: value for name, value in given.items() if "PASSWORD" in name}
    assert len(secrets) == 2
    assert all(value.startswith("${") for value in secrets.values())
    assert not re.search(r"://\w+:", COMPOSE.replace("http://localhost:", ""))
    asked = set(re.findall(r"\$\{(\w+)", COMPOSE))
    example = (ROOT / ".env.example").read_text().splitlines()
    assert asked == {line.partition("=")[0] for line in example if line[:1].isupper()}
    assert "POSTGRES_PASSWORD=" in example
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_nothing_starts_before_what_it_needs_is_well():
    services = yaml.safe_load(COMPOSE)["services"]
    assert all("healthcheck" in one for one in services.values())
    assert services["mlflow"]["depends_on"]["database"]["condition"] == "service_healthy"
    volumes = [mount.partition(":")[0] for one in services.values() for mount in one["volumes"]]
    assert set(volumes) == set(yaml.safe_load(COMPOSE)["volumes"])
