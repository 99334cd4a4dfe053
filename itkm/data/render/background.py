"""Places in front of which persons walk: streets, corridors, halls and parks, painted once per camera."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

PLACES = ("street", "corridor", "hall", "park")
WIDER, HIGHER = 5.0, 1.25  # the panorama against one image


def muted(rng: np.random.Generator, low: float = 60, high: float = 215, saturation: float = 0.3) -> np.ndarray:
    """A rather grey colour [3] in 0..255."""
    return rng.uniform(low, high) * (1 - saturation) + rng.uniform(low, high, 3) * saturation


def ink(colour: np.ndarray) -> tuple[int, int, int]:
    """Colour as PIL wants it."""
    red, green, blue = (int(c) for c in np.clip(colour, 0, 255))
    return red, green, blue


def panorama(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Background uint8 [1.25 height, 5 width, 3], from which every image of a camera takes a window."""
    h, w = int(height * HIGHER), int(width * WIDER)
    place = PLACES[int(rng.integers(len(PLACES)))]
    horizon = int(h * rng.uniform(0.5, 0.72))
    wall, floor = muted(rng, 80, 225), muted(rng, 60, 190, 0.18)
    rows = np.linspace(0, 1, h)[:, None, None]
    canvas = np.where(rows < horizon / h, wall * (1.1 - 0.25 * rows * h / horizon), floor * (0.8 + 0.3 * rows))
    picture = Image.fromarray(np.broadcast_to(canvas, (h, w, 3)).clip(0, 255).astype(np.uint8).copy())
    pen = ImageDraw.Draw(picture)
    {"street": street, "corridor": corridor, "hall": hall, "park": park}[place](rng, pen, wall, w, h, horizon)
    ground(rng, pen, floor, w, h, horizon)
    furniture(rng, pen, w, h, horizon)
    picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 1.1))))
    fine, coarse = rng.normal(0, 3, (h, w, 1)), rng.normal(0, 7, (h // 6 + 1, w // 6 + 1))
    cloud = np.asarray(Image.fromarray(coarse.astype(np.float32)).resize((w, h), Image.Resampling.BILINEAR))
    glow = 1 + 0.14 * np.sin(np.linspace(0, rng.uniform(2, 9), w) + rng.uniform(0, 6))[None, :, None]
    noisy: np.ndarray = np.asarray(picture, np.float32) * glow + fine + cloud[..., None]
    return noisy.clip(0, 255).astype(np.uint8)


def street(rng: np.random.Generator, pen: ImageDraw.ImageDraw, wall: np.ndarray, w: int, h: int, horizon: int) -> None:
    """House fronts with windows and doors."""
    x = 0
    while x < w:
        wide = int(rng.uniform(0.9, 2.2) * h * 0.5)
        tone = muted(rng, 70, 220, 0.35)
        pen.rectangle((x, 0, x + wide, horizon), fill=ink(tone))
        glass = muted(rng, 30, 130, 0.3)
        columns, tall = int(rng.integers(2, 5)), int(rng.uniform(0.16, 0.3) * h)
        for row in range(-1, 3):
            for c in range(columns):
                x0, y0 = x + (c + 0.2) * wide / columns, row * tall * 1.4 + 4
                if y0 + tall < horizon - 6:
                    pen.rectangle(
                        (x0, y0, x0 + 0.6 * wide / columns, y0 + tall), fill=ink(glass), outline=ink(tone * 0.75)
                    )
        if rng.random() < 0.7:
            x0 = x + rng.uniform(0.1, 0.7) * wide
            pen.rectangle((x0, horizon - 0.36 * h, x0 + 0.16 * h, horizon), fill=ink(muted(rng, 30, 150, 0.5)))
        x += wide


def corridor(
    rng: np.random.Generator, pen: ImageDraw.ImageDraw, wall: np.ndarray, w: int, h: int, horizon: int
) -> None:
    """A wall of panels with doors, a rail and lamps."""
    step = int(rng.uniform(0.2, 0.5) * h)
    for x in range(0, w, step):
        pen.line((x, 0, x, horizon), fill=ink(wall * 0.82), width=1)
        if rng.random() < 0.3:
            pen.rectangle(
                (x + 3, horizon - 0.55 * h, x + step - 3, horizon),
                fill=ink(muted(rng, 40, 190, 0.45)),
                outline=ink(wall * 0.6),
            )
    level = horizon - int(rng.uniform(0.12, 0.3) * h)
    pen.rectangle((0, level, w, level + int(rng.uniform(2, 7))), fill=ink(muted(rng, 40, 200, 0.4)))
    if rng.random() < 0.6:
        pen.rectangle((0, level + 8, w, horizon), fill=ink(muted(rng, 60, 190, 0.35)))


def hall(rng: np.random.Generator, pen: ImageDraw.ImageDraw, wall: np.ndarray, w: int, h: int, horizon: int) -> None:
    """Shop windows, posters and pillars."""
    x = 0
    while x < w:
        wide = int(rng.uniform(0.4, 1.0) * h)
        pen.rectangle(
            (x + 2, 0.08 * h, x + wide - 2, horizon - 0.06 * h),
            fill=ink(muted(rng, 60, 235, 0.3)),
            outline=ink(wall * 0.6),
        )
        for _ in range(int(rng.integers(0, 4))):
            x0, y0 = x + rng.uniform(0.05, 0.7) * wide, rng.uniform(0.1, 0.4) * h
            pen.rectangle(
                (x0, y0, x0 + rng.uniform(5, 20), y0 + rng.uniform(6, 26)), fill=ink(muted(rng, 40, 230, 0.6))
            )
        if rng.random() < 0.5:
            pen.rectangle((x + wide - 6, 0, x + wide + 8, horizon + 5), fill=ink(muted(rng, 90, 210, 0.1)))
        x += wide


def park(rng: np.random.Generator, pen: ImageDraw.ImageDraw, wall: np.ndarray, w: int, h: int, horizon: int) -> None:
    """Hedges, trunks and a bright sky."""
    pen.rectangle((0, 0, w, horizon), fill=ink(muted(rng, 150, 235, 0.15)))
    leaf = np.array([70, 96, 58]) * rng.uniform(0.6, 1.3)
    for _ in range(int(rng.integers(90, 160))):
        x, y, r = rng.uniform(0, w), horizon - abs(rng.normal(0, 0.2 * h)), rng.uniform(4, 0.12 * h)
        pen.ellipse((x - r, y - r, x + r, min(y + r, horizon + 4)), fill=ink(leaf * rng.uniform(0.65, 1.25)))
    for _ in range(int(rng.integers(2, 8))):
        x, r = rng.uniform(0, w), rng.uniform(2, 6)
        pen.rectangle((x - r, 0, x + r, horizon + 2), fill=ink(np.array([84, 66, 50]) * rng.uniform(0.6, 1.2)))


def ground(rng: np.random.Generator, pen: ImageDraw.ImageDraw, floor: np.ndarray, w: int, h: int, horizon: int) -> None:
    """Lines towards a vanishing point, and a kerb."""
    line = floor * rng.uniform(0.78, 0.94)
    vanishing, step = rng.uniform(0, w), rng.uniform(0.15, 0.45) * h
    if rng.random() < 0.75:
        for x in np.arange(-3 * w, 4 * w, step):
            pen.line((vanishing + (x - vanishing) * 0.25, horizon, x, h), fill=ink(line), width=1)
    if rng.random() < 0.6:
        y, gap = float(horizon), 3.0
        while y < h:
            pen.line((0, y, w, y), fill=ink(line), width=1)
            y, gap = y + gap, gap * 1.35
    pen.rectangle((0, horizon - 1, w, horizon + int(rng.integers(1, 5))), fill=ink(floor * rng.uniform(0.55, 1.2)))


def furniture(rng: np.random.Generator, pen: ImageDraw.ImageDraw, w: int, h: int, horizon: int) -> None:
    """Poles, bins and parked boxes."""
    for _ in range(int(rng.integers(1, 5))):
        x, r = rng.uniform(0, w), rng.uniform(1.5, 4)
        pen.rectangle((x - r, 0, x + r, horizon + rng.uniform(0, 0.12) * h), fill=ink(muted(rng, 40, 170, 0.2)))
    for _ in range(int(rng.integers(2, 7))):
        x, wide, tall = rng.uniform(0, w), rng.uniform(8, 50), rng.uniform(8, 34)
        base = horizon + rng.uniform(0, 0.1) * h
        tone = muted(rng, 40, 200, 0.5)
        pen.rectangle((x, base - tall, x + wide, base), fill=ink(tone), outline=ink(tone * 0.7))
