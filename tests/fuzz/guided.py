"""Coverage-guided fuzzing of the decoder: `make fuzz`. Inputs that reach new code of the decoder are mutated further.

atheris is no dependency of ours (Linux wheels only): `make fuzz` brings it into a folder of its own.
"""

import random
import sys
from pathlib import Path

import atheris

# Before anything else imports it: only what is imported in here tells the fuzzer where an input leads.
with atheris.instrument_imports(include=["stream_ae.flow", "tests.fuzz.reference", "json"]):
    from tests.fuzz.test_against_reference import assert_alike, readings

from tests.fuzz.payloads import NOW_MS, good, mutated

SEEDS = 200


def judge(data: bytes) -> None:
    """One record, or several in a batch where a byte 0xfe, which UTF-8 does not have, lies between them."""
    values = data.split(b"\xfe")
    keys = [b"k" if len(value) % 2 else None for value in values]
    for said, value, key in zip(readings(values, keys), values, keys, strict=True):
        assert_alike(said, value, key)


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """The library's own mutations, which know nothing of JSON, in turn with ours."""
    dice = random.Random(seed)
    return mutated(dice, data)[:max_size] if dice.random() < 0.5 else bytes(atheris.Mutate(data, max_size))


def sow(folder: Path) -> None:
    """Good records of all shapes to begin with."""
    folder.mkdir(parents=True, exist_ok=True)
    dice = random.Random(0)
    for number in range(SEEDS):
        (folder / f"good-{number}").write_bytes(good(dice, "s", NOW_MS))


if __name__ == "__main__":
    sow(Path(sys.argv[-1]))
    atheris.Setup(sys.argv, judge, custom_mutator=mutate)
    atheris.Fuzz()
