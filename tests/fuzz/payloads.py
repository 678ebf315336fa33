"""Payloads for the decoder to be wrong about: good records mutated, and records of a grammar of near misses."""

import json
import random
from collections.abc import Callable, Sequence

import hypothesis
from hypothesis import strategies as st

CHANNELS = ("temperature", "pressure", "flow")
NOW_MS = 1_700_000_000_000

NUMBERS = (
    "0", "-0", "1", "-1.5", "1e5", "1E+2", "2e-400", "3.4028235e38", "3.4028236e38", "1e39", "1e308", "1e309", "1e400",
    "-1e400", "NaN", "-NaN", "nan", "NAN", "Infinity", "-Infinity", "inf", "01", "+1", ".5", "1.", "1e", "0x10", "1_0",
    "18446744073709551616", "9" * 400, "-" + "9" * 5000, "0." + "1" * 400, "null", "true", "false", "None", '"1"',
    "1700000000", "1700000000.5", "1700000000000", "1700000000001", "1700000299999", "1700000300001", "1e14", "1e11",
    "99999999999", "100000000000", "-1e11", "1.7e12", "1700000000000.5",
)  # fmt: skip
"""What may stand where a number is expected, numbers or not."""

TEXTS = (
    '""', '"s"', '"NaN"', '"\\ud800"', '"\\ud83d\\ude00"', '"\\u0000"', '"\0"', '"a\tb"', '"\\x"', '"\\u12"', '"\\""',
    '"\\\\"', '"ü"', '"\ufeff"', '"values"', '"\\"values\\":{}"', '"}"', "'s'", '"2023-11-14T22:13:20Z"', '"unclosed',
    '"2023-11-14"', '"20231114T221320"', '"2023-11-14 22:13:20.5+02:00"', '"2023-13-14"', '"yesterday"', '"1700000000"',
    '"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59-14:00"', '"2023-11-14T22:13:20.123456789Z"', '"2023-W46-2"',
    '"2023-11-14T24:00:00"', '"' + "x" * 70_000 + '"',
)  # fmt: skip
"""JSON texts, and what is nearly one."""

NESTED = ("[" * 100 + "]" * 100, '{"a":' * 100 + "1" + "}" * 100, "[" * 50_000, "[" * 50_000 + "]" * 50_000)
NAMES = ("stream", "timestamp", "values", "interval_ms", *CHANNELS, "humidity", "", "val\\u0075es", "Values", "values ")
SPACES = ("", "", "", " ", "\n", "\t \r", "\v", "\u00a0", "\0", "\ufeff")

scalars = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(TEXTS), st.floats().map(repr), st.integers().map(str))
anything = st.recursive(
    st.one_of(scalars, st.sampled_from(NESTED)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: f"[{','.join(items)}]"),
        st.lists(st.tuples(st.sampled_from(NAMES), inner), max_size=4).map(lambda pairs: _object(pairs, "")),
    ),
    max_leaves=6,
)
numbers = st.one_of(st.just("1.5"), st.just("1.5"), st.just("null"), st.just("NaN"), st.sampled_from(NUMBERS))
samples = st.one_of(st.lists(numbers, min_size=3, max_size=3), st.lists(numbers, max_size=4)).map(
    lambda items: f"[{', '.join(items)}]"
)
blocks = st.lists(samples, max_size=3).map(lambda rows: f"[{','.join(rows)}]")
named = st.lists(
    st.tuples(st.sampled_from((*CHANNELS, *CHANNELS, *CHANNELS, *NAMES)), st.one_of(numbers, numbers, samples, blocks)),
    max_size=5,
).map(lambda pairs: _object(pairs, ""))
named_blocks = st.lists(st.tuples(st.sampled_from(CHANNELS), st.one_of(samples, st.sampled_from(("null", "NaN"))))).map(
    lambda pairs: _object(pairs, "")
)
USUAL = {"stream": '"s"', "timestamp": str(NOW_MS), "values": "[1.5,null,2]", "interval_ms": "1", "more": "{}"}
field_values = {
    "stream": st.one_of(st.sampled_from(TEXTS), anything),
    "timestamp": st.one_of(st.sampled_from(NUMBERS), st.sampled_from(TEXTS), samples, anything),
    "values": st.one_of(named, samples, blocks, named_blocks, anything),
    "interval_ms": st.one_of(st.just("1"), st.sampled_from(NUMBERS)),
    "more": anything,
}


def _object(pairs: Sequence[tuple[str, str]], space: str) -> str:
    inside = f",{space}".join(f'"{name}"{space}:{space}{value}' for name, value in pairs)
    return f"{space}{{{space}{inside}{space}}}{space}"


@st.composite
def near_misses(draw: st.DrawFn) -> bytes:
    """A record whose fields are drawn from what is nearly right, in any order, some of them twice or not at all."""
    usual = ["stream", "timestamp", "values"]
    more = draw(st.lists(st.sampled_from([*field_values]), max_size=2))
    left_out = draw(st.one_of(st.just(""), st.just(""), st.sampled_from(usual)))
    names = draw(st.permutations([name for name in usual if name != left_out] + more))
    pairs = [(name, draw(field_values[name]) if draw(st.integers(0, 2)) == 0 else USUAL[name]) for name in names]
    return _object(pairs, draw(st.sampled_from(SPACES))).encode("utf-8", errors="surrogatepass")


def drawn(strategy: st.SearchStrategy[bytes], count: int, seed: int) -> list[bytes]:
    """So many examples of a strategy, outside of a test of hypothesis's own."""
    examples: list[bytes] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def collect(example: bytes) -> None:
        examples.append(example)

    collect()
    return examples[:count]


def good(dice: random.Random, stream: str, timestamp_ms: int) -> bytes:
    """A good record of any of the documented shapes."""
    row = [round(dice.gauss(50.0, 5.0), 3) for _ in CHANNELS]
    values: object = dict(zip(CHANNELS, row, strict=True))
    more: dict[str, object] = {}
    match dice.randrange(6):
        case 0:
            values = row
        case 1:
            values, more = [row, row], {"interval_ms": dice.choice([1, 0.5])}
        case 2:
            values, more = {name: [item, item] for name, item in zip(CHANNELS, row, strict=True)}, {"interval_ms": 10}
        case 3:
            values = dict(zip(CHANNELS, [row[0], None, float("nan")], strict=True))
        case _:
            more = dice.choice([{}, {}, {"note": 'NaN \\ " values ü'}, {"meta": {"values": [1]}}])
    record = {"stream": stream, "timestamp": timestamp_ms, "values": values} | more
    separators = dice.choice([(",", ":"), (", ", ": ")])
    return json.dumps(record, separators=separators, ensure_ascii=dice.random() < 0.5).encode()


def mutated(dice: random.Random, value: bytes) -> bytes:
    """The record after one to three mutations; it may still be a good one."""
    for _ in range(dice.choice([1, 1, 2, 3])):
        value = dice.choice(MUTATIONS)(dice, value)
    return value


def _truncate(dice: random.Random, value: bytes) -> bytes:
    return value[: dice.randrange(len(value) + 1)]


def _flip(dice: random.Random, value: bytes) -> bytes:
    if not value:
        return value
    at = dice.randrange(len(value))
    return value[:at] + bytes([value[at] ^ (1 << dice.randrange(8))]) + value[at + 1 :]


def _cut(dice: random.Random, value: bytes) -> bytes:
    begin, end = sorted(dice.randrange(len(value) + 1) for _ in range(2))
    return value[:begin] + value[end:]


def _repeat(dice: random.Random, value: bytes) -> bytes:
    begin, end = sorted(dice.randrange(len(value) + 1) for _ in range(2))
    return value[:end] + value[begin:end] + value[end:]


def _insert(dice: random.Random, value: bytes) -> bytes:
    at = dice.randrange(len(value) + 1)
    return value[:at] + dice.choice(INSERTED) + value[at:]


def _number(dice: random.Random, value: bytes) -> bytes:
    """Another number where one of the record's numbers stands."""
    return _replaced(dice, value, "0123456789.-+eE", NUMBERS)


def _text(dice: random.Random, value: bytes) -> bytes:
    """Something else where one of the record's words or numbers stands."""
    return _replaced(dice, value, '0123456789.-abcdefghijklmnopqrstuvwxyz_"', (*TEXTS, *NUMBERS, *NESTED))


def _field(dice: random.Random, value: bytes) -> bytes:
    """A field more, often one that is there already."""
    name, item = dice.choice(NAMES), dice.choice((*TEXTS, *NUMBERS, *NESTED, "{}", "[]", "[1,2,3]"))
    more = f'"{name}":{item}'.encode()
    places = [at + 1 for at, byte in enumerate(value) if byte == ord("{")]
    ends = [at for at, byte in enumerate(value) if byte == ord("}")]
    if dice.random() < 0.5 and places:
        at = dice.choice(places)
        return value[:at] + more + b"," + value[at:]
    if ends:
        at = dice.choice(ends)
        return value[:at] + b"," + more + value[at:]
    return value


def _replaced(dice: random.Random, value: bytes, letters: str, by: Sequence[str]) -> bytes:
    places = [at for at, byte in enumerate(value) if chr(byte) in letters]
    if not places:
        return value
    begin = end = dice.choice(places)
    while begin and chr(value[begin - 1]) in letters:
        begin -= 1
    while end < len(value) and chr(value[end]) in letters:
        end += 1
    return value[:begin] + dice.choice(by).encode("utf-8", errors="surrogatepass") + value[end:]


INSERTED = (
    b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\n",
    b" ", b"-", b"0", b"e9", b"NaN", b"//", b"\x1f", b"\\u0000", b"\\ud800",
)  # fmt: skip
MUTATIONS: Sequence[Callable[[random.Random, bytes], bytes]] = (
    _truncate, _flip, _flip, _cut, _repeat, _insert, _number, _number, _text, _field,
)  # fmt: skip
