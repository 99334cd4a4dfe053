from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator

import faults
import imagehash
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from itkm.feeds.profile import (
    BATCH,
    COLUMNS,
    GREY_SPREAD,
    frame_of,
    in_parallel,
    measure,
    measure_named,
    profile_images,
)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_each_measure_is_what_its_definition_says() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (40, 20, 3), dtype=np.uint8)
    content = png(pixels)
    row = measure(content, name="a.png")
    grey = np.asarray(Image.fromarray(pixels).convert("L")).astype(float)
    padded = np.pad(grey, 1, mode="reflect")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    shares = [np.mean(grey == level) for level in range(256)]
    ordered = np.sort(grey.ravel())
    assert row["sha256"] == hashlib.sha256(content).hexdigest() and row["bytes"] == len(content)
    assert (row["width"], row["height"], row["aspect"], row["mode"]) == (20, 40, 2.0, "RGB")
    assert row["brightness"] == pytest.approx(grey.mean())
    assert row["contrast"] == pytest.approx(grey.std())
    assert row["brightness_p1"] == ordered[math.ceil(0.01 * grey.size) - 1]
    assert row["brightness_p99"] == ordered[math.ceil(0.99 * grey.size) - 1]
    assert row["entropy"] == pytest.approx(-sum(share * math.log2(share) for share in shares if share))
    assert row["laplacian"] == pytest.approx((around - 4 * grey).var(), rel=1e-4)
    assert row["chroma"] == pytest.approx(np.abs(pixels - grey[..., None]).mean())
    luminance = Image.fromarray(pixels).convert("L")
    assert row["phash"] == f"{imagehash.phash(luminance)}{imagehash.dhash(luminance)}" and len(row["phash"]) == 32


def test_grey_is_grey_however_it_is_stored_or_tinted() -> None:
    drop = faults.clean_drop("vi", "vi-c1", images=20)
    for content in drop.files.values():
        colour = faults.pixels(content)
        grey = np.asarray(Image.fromarray(colour).convert("L"))
        tinted = np.clip(grey[..., None] * 0.5 + np.array([60, 40, 80]), 0, 255).astype(np.uint8)
        for stored in (grey, np.repeat(grey[..., None], 3, axis=2), tinted):
            assert measure(faults.encode(stored), name="grey")["infrared_score"] > 0.98
        assert measure(content, name="colour")["infrared_score"] < 0.9
    assert measure(faults.encode(np.repeat(grey[..., None], 3, axis=2)), name="grey")["chroma"] < 1


def test_the_infrared_score_counts_pixels() -> None:
    pixels = np.full((10, 10, 3), 100, dtype=np.uint8)
    pixels[:3, :, 0] += 2 * GREY_SPREAD + 40  # three tenths are colour, also after the mean tint is taken off
    assert measure(png(pixels), name="a.png")["infrared_score"] in (0.0, 0.7)
    assert measure(png(np.full((10, 10, 3), (200, 60, 20), dtype=np.uint8)), name="tint")["infrared_score"] == 1.0


def test_processes_give_the_rows_of_one_in_the_given_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("itkm.feeds.profile.ALONE", BATCH)
    drop = faults.plant(faults.clean_drop("vi", "vi-c1", images=BATCH * 2 + 10), "truncated", 0.1)
    alone = profile_images(drop.files.items(), workers=1)
    together = profile_images(drop.files.items(), workers=2)
    pd.testing.assert_frame_equal(alone, together)
    assert alone["path"].tolist() == list(drop.files)
    assert set(alone.loc[~alone["decode_ok"], "path"]) == drop.planted["truncated"]


def test_the_images_are_taken_as_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("itkm.feeds.profile.ALONE", BATCH)
    content = next(iter(faults.clean_drop("vi", "vi-c1", images=1).files.values()))
    taken = 0

    def images() -> Iterator[tuple[str, bytes]]:
        nonlocal taken
        for number in range(40 * BATCH):
            taken += 1
            yield f"{number}.jpg", content

    rows = in_parallel(measure_named, images(), workers=2)
    next(iter(rows))
    assert taken <= 8 * BATCH
    rows.close()


@pytest.mark.parametrize(
    ("fault", "rule"),
    [("truncated", "broken"), ("zero bytes", "empty"), ("html", "type")],
    ids=lambda value: str(value),
)
def test_what_does_not_decode_is_told_by_its_rule(fault: str, rule: str) -> None:
    drop = faults.plant(faults.clean_drop("vi", "vi-c4", images=20), fault, 0.5)
    profile = profile_images(drop.files.items(), workers=1).set_index("path")
    for path, row in profile.iterrows():
        assert row["decode_ok"] == (path not in drop.planted[fault])
        assert row["error"].split(":")[0] == ("" if row["decode_ok"] else rule)
        assert math.isnan(row["brightness"]) != row["decode_ok"] and (row["width"] == -1) != row["decode_ok"]


def test_a_bomb_of_a_few_kilobytes_is_not_decoded() -> None:
    row = measure(faults.bomb(50_000), name="bomb.png")
    assert row["bytes"] < 10_000 and not row["decode_ok"] and str(row["error"]).startswith("size: ")


def test_columns_and_types_do_not_depend_on_the_rows() -> None:
    empty, one = (
        frame_of([]),
        frame_of([{"path": "a", "sha256": "", "bytes": 0, "decode_ok": False, "error": "empty: a"}]),
    )
    assert tuple(empty.columns) == tuple(one.columns) == COLUMNS
    assert empty.dtypes.astype(str).tolist() == one.dtypes.astype(str).tolist()
