"""Recoloured copies: deterministic, other clothes, the same shape, and a head and a background that stay."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from itkm.data.images import decode
from itkm.data.importers.recolour import recolour, recoloured
from itkm.data.importers.source import source_image
from itkm.errors import InputError


def person(torso: tuple[int, int, int] = (200, 30, 30), legs: tuple[int, int, int] = (20, 20, 160)) -> bytes:
    """A PNG 40 wide and 100 high: grey ground, a head, and clothes of two colours."""
    pixels = np.full((100, 40, 3), 128, dtype=np.uint8)
    pixels[2:14, 14:26] = (220, 180, 150)
    pixels[20:48, 10:30], pixels[52:88, 10:30] = torso, legs
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def pixels_of(content: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.asarray(decode(content, name="x")).astype(np.int64)


def test_the_same_image_gives_the_same_bytes_and_another_one_other_colours() -> None:
    assert recolour(person(), name="a") == recolour(person(), name="b")
    changes = {tuple((pixels_of(recolour(person((200, 30, blue)), name="x")))[34, 20]) for blue in range(30, 50)}
    assert len(changes) == 20


@pytest.mark.parametrize("torso", [(200, 30, 30), (0, 0, 0), (255, 255, 255), (128, 128, 128)])
def test_clothes_change_and_the_rest_stays(torso: tuple[int, int, int]) -> None:
    before, after = pixels_of(person(torso)), pixels_of(recolour(person(torso), name="x"))
    assert after.shape == before.shape
    for rows in (slice(22, 46), slice(54, 86)):  # torso, legs
        assert np.abs(after[rows, 12:28] - before[rows, 12:28]).sum(axis=2).min() > 10
    assert np.array_equal(after[:14], before[:14])  # head
    assert np.array_equal(after[:, :3], before[:, :3])  # ground on both sides
    assert np.array_equal(after[:, -3:], before[:, -3:])
    assert np.array_equal(after[95:], before[95:])


def test_torso_and_legs_get_colours_of_their_own() -> None:
    after = pixels_of(recolour(person((90, 90, 90), (90, 90, 90)), name="x"))
    assert not np.array_equal(after[34, 20], after[70, 20])


def test_shading_survives() -> None:
    pixels = pixels_of(person())
    ramp = np.linspace(40, 200, 20).astype(np.int64)
    pixels[30, 10:30] = ramp[:, None]
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
    after = pixels_of(recolour(stream.getvalue(), name="x"))[30, 10:30].sum(axis=1)
    assert (np.diff(after) > 0).all()


def test_a_copy_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    file = tmp_path / "train/1.png"
    file.write_bytes(person())
    image = source_image(file, root=tmp_path, scenario="cc", group="outfit-a", camera="c1", person=7, clothes=7001)
    copy = recoloured(image, group="outfit-b")
    assert copy.row == {**image.row, "group": "outfit-b", "clothes": -1, "source": "train/1.png (recoloured)"}
    assert copy.read is not None and copy.read() == recolour(person(), name="x")
    file.write_bytes(b"broken")
    with pytest.raises(InputError, match=r"train/1\.png \(recoloured\): cannot be decoded"):
        copy.read()
