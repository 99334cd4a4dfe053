"""Decoding: right pixels, upright, and every hostile or broken file is an error that names it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from itkm.data.images import MAX_PIXELS, decode, load_images
from itkm.data.shards import write_scenario
from itkm.errors import InputError

MakeImage = Callable[..., bytes]
MakeRow = Callable[..., dict[str, Any]]


def saved(image: Image.Image, form: str = "PNG", *, exif: Image.Exif | None = None) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, exif=exif or Image.Exif())
    return stream.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds next to nothing: a decompression bomb."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "LA", "1", "CMYK"])
def test_every_common_mode_becomes_rgb(mode: str) -> None:
    image = Image.new("RGB", (16, 32), (200, 100, 50)).convert(mode)
    form = "TIFF" if mode == "CMYK" else "PNG"
    assert decode(saved(image, form), name="x").mode == "RGB"


def test_pixels_survive_a_lossless_file(make_image: MakeImage) -> None:
    content = make_image(3)
    with Image.open(io.BytesIO(content)) as image:
        assert np.array_equal(np.asarray(decode(content, name="x")), np.asarray(image))


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 32 * 16).reshape(32, 16).astype(np.uint16)
    pixels = np.asarray(decode(saved(Image.fromarray(ramp)), name="x"))
    assert np.array_equal(pixels[..., 0], (ramp >> 8).astype(np.uint8))


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, to be turned by 90 degrees
    content = saved(Image.new("RGB", (32, 16)), "JPEG", exif=exif)
    assert decode(content, name="x").size == (16, 32)


@pytest.mark.parametrize("size", [(5_001, 5_000), (10_000, 10_000), (60_000, 60_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bombs_are_refused_by_their_header(size: tuple[int, int]) -> None:
    assert size[0] * size[1] > MAX_PIXELS
    with pytest.raises(InputError, match=r"^bomb\.png: "):
        decode(png_of_size(*size), name="bomb.png")


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_bombs_are_refused_where_warnings_are_errors() -> None:
    with pytest.raises(InputError, match=r"^bomb\.png: "):
        decode(png_of_size(10_000, 10_000), name="bomb.png")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused(make_image: MakeImage, form: str, share: float) -> None:
    content = make_image(1, size=(64, 128), form=form)
    with pytest.raises(InputError, match=r"^cut: cannot be decoded"):
        decode(content[: int(len(content) * share)], name="cut")


@pytest.mark.parametrize("content", [b"", b"text", b"\xff\xd8\xff" + b"\0" * 50, b"<svg/>", b"GIF89a" + b"\0" * 40])
def test_what_is_no_image_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match=r"^other: cannot be decoded"):
        decode(content, name="other")


@pytest.mark.parametrize("size", [(7, 32), (16, 7), (1, 1)])
def test_tiny_images_are_refused(make_image: MakeImage, size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=r"^tiny: .*at least 8"):
        decode(make_image(size=size), name="tiny")


def test_images_load_in_the_order_of_the_table(tmp_path: Path, make_image: MakeImage, make_row: MakeRow) -> None:
    sizes = [(16, 32), (20, 30), (9, 64)]
    rows = [make_row(camera=f"c{i % 2}") for i in range(150)]
    contents = [make_image(i, size=sizes[i % 3]) for i in range(150)]
    frame = write_scenario(zip(rows, contents, strict=True), tmp_path)
    shuffled = frame.sample(frac=1, random_state=1)
    images = load_images(shuffled, tmp_path, height=32, width=16, workers=3)
    assert images.shape == (150, 3, 32, 16)
    assert images.dtype == np.uint8
    for image, number in zip(images, shuffled.index, strict=True):
        with Image.open(io.BytesIO(contents[number])) as original:
            wanted = np.asarray(original.resize((16, 32), Image.Resampling.BILINEAR))
        assert np.array_equal(image.transpose(1, 2, 0), wanted)


def test_a_broken_image_among_many_is_named(tmp_path: Path, make_image: MakeImage, make_row: MakeRow) -> None:
    images = [(make_row(source=f"person/{i}.png"), make_image(i)) for i in range(100)]
    images[70] = (images[70][0], images[70][1][:100])
    frame = write_scenario(images, tmp_path)
    path = frame["path"][70]
    with pytest.raises(InputError, match=rf"c1\.tar: {path} from person/70\.png: cannot be decoded"):
        load_images(frame, tmp_path, height=32, width=16)
    with pytest.raises(InputError, match=rf"c1\.tar: {path}: cannot be decoded"):
        load_images(frame[["shard", "path"]], tmp_path, height=32, width=16)  # as training has it


def test_an_empty_table_gives_an_empty_array(tmp_path: Path, make_image: MakeImage, make_row: MakeRow) -> None:
    frame = write_scenario([(make_row(), make_image())], tmp_path)
    assert load_images(frame.head(0), tmp_path, height=32, width=16).shape == (0, 3, 32, 16)
