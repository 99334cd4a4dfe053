from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from itkm.feeds.duplicates import CHUNK, RADII, group_near, near_pairs, nearest, parse

CENTRES = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), min_size=1, max_size=4)
BITS = st.sets(st.integers(0, 63), max_size=7)
FLIPS = st.lists(st.tuples(st.integers(0, 3), BITS, BITS), max_size=25)
RADIUS = st.tuples(st.integers(0, 6), st.integers(0, 6))


def flipped(value: int, bits: set[int]) -> int:
    return value ^ sum(1 << bit for bit in bits)


def clustered(centres: list[tuple[int, int]], flips: list[tuple[int, set[int], set[int]]]) -> NDArray[np.uint64]:
    """Hashes near a few centres: each a centre with some bits flipped in its halves."""
    chosen = [(centres[place % len(centres)], first, second) for place, first, second in flips]
    values = [(flipped(low, first), flipped(high, second)) for (low, high), first, second in chosen]
    return np.array(values, dtype=np.uint64).reshape(-1, 2)


def distance(one: NDArray[np.uint64], other: NDArray[np.uint64], radii: tuple[int, int]) -> int | None:
    """The bits in which two hashes differ; None where a half differs in more than its radius."""
    bits = [bin(int(a) ^ int(b)).count("1") for a, b in zip(one, other, strict=True)]
    return sum(bits) if bits[0] <= radii[0] and bits[1] <= radii[1] else None


@settings(deadline=None, max_examples=100)
@given(CENTRES, FLIPS, FLIPS, RADIUS)
def test_the_nearest_is_that_of_a_comparison_with_each(
    centres: list[tuple[int, int]],
    flips: list[tuple[int, set[int], set[int]]],
    known_flips: list[tuple[int, set[int], set[int]]],
    radii: tuple[int, int],
) -> None:
    hashes, known = clustered(centres, flips), clustered(centres, known_flips)
    expected = []
    for value in hashes:
        distances = [(distance(value, other, radii), place) for place, other in enumerate(known)]
        expected.append(min(((far, place) for far, place in distances if far is not None), default=(0, -1))[1])
    assert nearest(hashes, known, radii=radii).tolist() == expected


@settings(deadline=None, max_examples=100)
@given(CENTRES, FLIPS, RADIUS)
def test_groups_are_what_hangs_together(
    centres: list[tuple[int, int]], flips: list[tuple[int, set[int], set[int]]], radii: tuple[int, int]
) -> None:
    hashes = clustered(centres, flips)
    group = [-1] * len(hashes)
    count = 0
    for start in range(len(hashes)):  # a flood from each hash that has no group yet
        if group[start] == -1:
            found, waiting = {start}, [start]
            while waiting:
                here = hashes[waiting.pop()]
                near = {n for n, other in enumerate(hashes) if distance(here, other, radii) is not None}
                waiting.extend(near - found)
                found |= near
            if len(found) > 1:
                for member in found:
                    group[member] = count
                count += 1
    assert group_near(hashes, radii=radii).tolist() == group


def test_a_pair_at_the_radii_is_found_wherever_its_bits_lie() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        first, second = (int(value) for value in rng.integers(0, 2**63, 2))
        here = np.array([[first, second]], dtype=np.uint64)
        bits = [set(rng.choice(64, count, replace=False).tolist()) for count in RADII]
        near = np.array([[flipped(first, bits[0]), flipped(second, bits[1])]], dtype=np.uint64)
        assert nearest(here, near).tolist() == [0]
        for half in (0, 1):
            further = near.copy()
            further[0, half] ^= np.uint64(1 << next(bit for bit in range(64) if bit not in bits[half]))
            assert nearest(here, further).tolist() == [-1]


def test_few_pairs_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("itkm.feeds.duplicates.CHUNK", 64)
    values = np.arange(300, dtype=np.uint64)  # all share their upper blocks: each is compared with each
    hashes = np.stack([values, np.zeros_like(values)], axis=1)
    found = set()
    for rows, columns, _ in near_pairs(hashes, hashes, radii=(4, 0)):
        assert len(rows) <= 64 < CHUNK
        found.update(zip(rows.tolist(), columns.tolist(), strict=True))
    expected = {(a, b) for a in range(300) for b in range(300) if bin(a ^ b).count("1") <= 4}
    assert found == expected


def test_hashes_are_read_from_digits() -> None:
    digits = ["00000000000000ff8000000000000000", "80000000000000000000000000000001"]
    assert parse(digits).tolist() == [[255, 2**63], [2**63, 1]]
    assert group_near(parse([])).tolist() == nearest(parse([]), parse([])).tolist() == []
