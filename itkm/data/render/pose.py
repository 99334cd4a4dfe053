"""How a person walks or stands, as rotations of bones."""

from __future__ import annotations

import numpy as np

from itkm.data.render.body import Body, Shape
from itkm.data.render.wardrobe import Person

STANDING = 0.15  # share of images in which the person stands


def about_x(angle: float) -> np.ndarray:
    """Rotation [3,3] about the axis from the person's right to left: positive moves what hangs down to the back."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def about_y(angle: float) -> np.ndarray:
    """Rotation [3,3] about the axis from front to back."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def about_z(angle: float) -> np.ndarray:
    """Rotation [3,3] about the vertical."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def walking(person: Person, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Bone rotations of one moment of this person's walk, or of standing."""
    gait = person.gait
    phase = rng.uniform(0, 2 * np.pi)
    size = (0.08 if rng.random() < STANDING else 1.0) * rng.uniform(0.85, 1.1)
    tight = person.attributes["bottoms"] in ("skirt", "none")
    stride, swing = size * gait["stride"] * (0.75 if tight else 1), size * gait["swing"]
    out = {
        "spine03": about_x(gait["lean"]) @ about_z(0.12 * size * np.sin(phase)),
        "neck01": about_x(gait["head"] + rng.normal(0, 0.06)) @ about_z(rng.normal(0, 0.3)),
    }
    spread = 0.56 - gait["arms"] - 0.18 * max(person.phenotype["weight"] - 0.5, 0)
    carries = person.attributes["bag"] == "handbag"
    for side, sign in (("L", 1.0), ("R", -1.0)):
        step = sign * np.sin(phase)
        out[f"upperleg01.{side}"] = about_x(stride * step) @ about_y(sign * 0.08)
        bent = max(0.0, sign * np.sin(phase + 0.9)) * 1.1 * stride + 0.04
        out[f"lowerleg01.{side}"] = about_x(bent)
        out[f"foot.{side}"] = about_x(-0.35 * stride * step)
        loaded = carries and person.numbers["side"] == sign
        reach = 0.3 * swing if loaded else swing
        out[f"upperarm01.{side}"] = about_x(-reach * step + 0.12) @ about_y(sign * (spread - (0.12 if loaded else 0)))
        out[f"lowerarm01.{side}"] = about_x(0.5 if loaded else 0.4 - gait["elbow"] - 0.4 * swing * max(0.0, step))
    return out


def posed(body: Body, shape: Shape, person: Person, rng: np.random.Generator) -> np.ndarray:
    """Bone matrices [J+1,4,4]; the last is the virtual bone of a handbag, which follows the hand but stays upright."""
    bones = body.pose(shape.heads, walking(person, rng))
    hand = body.bone("finger3-1.L" if person.numbers["side"] > 0 else "finger3-1.R")
    rest = shape.heads[hand]
    carried = np.eye(4)
    carried[:3, 3] = bones[hand][:3, :3] @ rest + bones[hand][:3, 3] - rest
    return np.concatenate([bones, carried[None]])
