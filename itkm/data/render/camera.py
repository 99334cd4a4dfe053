"""Cameras: where they stand, what is behind the person, and what their sensor does to the picture."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from itkm.data.render.background import muted, panorama
from itkm.data.render.body import Body, Shape
from itkm.data.render.draw import Drawable, Painter
from itkm.data.render.pose import posed
from itkm.data.render.settings import RenderSettings
from itkm.data.render.wardrobe import Person, luminance

NEAR, FAR = 0.5, 40.0


@dataclass(frozen=True)
class Camera:
    """A camera; `background` is uint8 [h,w,3].

    Angles in radians, distance in metres; `mix` [3,3], `cast` [3] and `haze_colour` [3] act on colours in 0..1.
    """

    name: str
    infrared: bool
    background: np.ndarray
    yaw: float
    yaw_spread: float
    elevation: float
    distance: float
    light: np.ndarray
    ambient: float
    cast: np.ndarray
    exposure: float
    gamma: float
    blur: float
    noise: float
    jitter: float
    occluders: float
    mix: np.ndarray
    haze: float
    haze_colour: np.ndarray
    contrast: float


def make_camera(
    settings: RenderSettings,
    name: str,
    rng: np.random.Generator,
    *,
    infrared: bool = False,
    gap: float = 0.0,
    yaw: float | None = None,
) -> Camera:
    """A camera by chance, looking at the person's front turned by about `yaw`, or from anywhere if None.

    `gap` > 0 adds the surveillance look that scenario cameras share and pretraining cameras lack: a common part, seeded
    by the settings alone, and a smaller part of each camera's own.
    """
    shared = np.random.default_rng([settings.seed, 7_000_001])
    mix = np.eye(3) + gap * (shared.normal(0, 0.16, (3, 3)) + rng.normal(0, 0.08, (3, 3)))
    direction = np.array([rng.uniform(-0.8, 0.8), rng.uniform(-0.9, 0.5), rng.uniform(0.6, 1.2)])
    haze = shared.uniform(0.15, 0.3) + rng.uniform(-0.1, 0.12)
    return Camera(
        name=name,
        infrared=infrared,
        background=panorama(rng, settings.height, settings.width),
        yaw=float(rng.uniform(0, 2 * np.pi)) if yaw is None else yaw + float(rng.normal(0, 0.3)),
        yaw_spread=float(rng.uniform(0.3, 0.6)),
        elevation=float(rng.uniform(0.03, 0.42)),
        distance=float(rng.uniform(4, 9)),
        light=direction / np.linalg.norm(direction),
        ambient=float(rng.uniform(0.55, 0.8)),
        cast=rng.uniform(0.88, 1.12, 3),
        exposure=float(rng.uniform(0.85, 1.2)),
        gamma=float(rng.uniform(0.85, 1.2)),
        blur=float(rng.uniform(0, 0.6)),
        noise=float(rng.uniform(0.005, 0.018)),
        jitter=1 + gap,
        occluders=settings.occluder_rate * float(rng.uniform(0.3, 1.7)),
        mix=mix / mix.sum(1, keepdims=True),
        haze=float(gap * max(haze, 0.02)),
        haze_colour=shared.uniform(0.45, 0.7, 3) + rng.uniform(-0.1, 0.1, 3),
        contrast=float(1 - gap * (shared.uniform(0.05, 0.25) + rng.uniform(-0.1, 0.1))),
    )


def take_picture(
    painter: Painter,
    drawable: Drawable,
    body: Body,
    shape: Shape,
    person: Person,
    camera: Camera,
    rng: np.random.Generator,
) -> np.ndarray:
    """One image uint8 [H,W,3] of a person in front of a camera."""
    height, width = painter.height, painter.width
    bones = posed(body, shape, person, rng)
    view, eye, feet = frame_person(camera, points_of(body, shape, bones), height / width, rng)
    lamp_light = (eye - shape.vertices.mean(0)) / camera.distance + [0, 0, 0.25]  # infrared lamps sit beside the lens
    light = (lamp_light if camera.infrared else camera.light) + rng.normal(0, 0.12, 3)
    layer = painter.paint(drawable, bones, view, eye, light / np.linalg.norm(light), camera.ambient)
    scene = backdrop(camera, height, width, rng) * ground_shadow(feet, height, width)[..., None]
    colour, alpha = layer[..., :3], layer[..., 3:]
    if camera.infrared:  # one channel: lips, soles and whatever else has a colour of its own lose it
        colour = np.repeat(colour.mean(2, keepdims=True), 3, 2)
    picture = scene * (1 - alpha) + colour
    if rng.random() < camera.occluders:
        occlude(picture, camera.infrared, rng)
    return sensor(picture, camera, rng)


def points_of(body: Body, shape: Shape, bones: np.ndarray) -> np.ndarray:
    """A sample of posed points [K,3] that bounds the person."""
    index = sample_of(body)
    m = np.einsum("nk,nkij->nij", body.bone_weight[index], bones[body.bone_index[index]])
    points: np.ndarray = np.einsum("nij,nj->ni", m[:, :3, :3], shape.vertices[index]) + m[:, :3, 3]
    return points


@functools.lru_cache(maxsize=1)
def sample_of(body: Body) -> np.ndarray:
    """Every sixtieth vertex of skin and tights: enough for a bounding box."""
    return np.concatenate([np.unique(body.faces[g])[::60] for g in ("body", "helper-tights")])


def frame_person(
    camera: Camera, points: np.ndarray, aspect: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """View matrix [4,4] that frames the person like a detector, the eye [3], and the feet's place (x, y) in 0..1."""
    yaw = camera.yaw + rng.normal(0, camera.yaw_spread) + (np.pi if rng.random() < 0.3 else 0)
    elevation = np.clip(camera.elevation + rng.normal(0, 0.03), 0, 0.6)
    target = (points.max(0) + points.min(0)) / 2
    out = np.array([np.sin(yaw) * np.cos(elevation), -np.cos(yaw) * np.cos(elevation), np.sin(elevation)])
    right = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    up = np.cross(out, right)
    eye = target + camera.distance * out
    local = (points - eye) @ np.stack([right, up, -out]).T
    u, v = local[:, 0] / local[:, 2], local[:, 1] / local[:, 2]
    j = camera.jitter
    share = np.clip(0.89 + j * rng.normal(0, 0.025), 0.78, 0.99)
    half = max((v.max() - v.min()) / 2 / share, aspect * (u.max() - u.min()) / 2 / 0.98)
    centre_u = (u.max() + u.min()) / 2 + j * rng.normal(0, 0.04) * half / aspect
    centre_v = (v.max() + v.min()) / 2 + half * (0.035 + j * rng.normal(0, 0.015))
    rows = np.stack([right, up, -out])
    camera_matrix = np.eye(4)
    camera_matrix[:3, :3], camera_matrix[:3, 3] = rows, -rows @ eye
    lens = np.array(
        [
            [aspect / half, 0, -centre_u * aspect / half, 0],
            [0, 1 / half, -centre_v / half, 0],
            [0, 0, (FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR)],
            [0, 0, 1, 0],
        ]
    )
    low = v < np.quantile(v, 0.08)
    feet = (0.5 + 0.5 * (u[low].mean() - centre_u) * aspect / half, 0.5 - 0.5 * (v.min() - centre_v) / half)
    return lens @ camera_matrix, eye, feet


def backdrop(camera: Camera, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A window of the camera's background, float32 [H,W,3]."""
    h, w = camera.background.shape[:2]
    y, x = int(rng.integers(0, h - height + 1)), int(rng.integers(0, w - width + 1))
    scene = camera.background[y : y + height, x : x + width].astype(np.float32) * (rng.uniform(0.9, 1.1) / 255)
    if camera.infrared:
        return np.repeat(scene.mean(2, keepdims=True) * 0.3, 3, 2)
    return scene


def ground_shadow(feet: tuple[float, float], height: int, width: int) -> np.ndarray:
    """Factor [H,W] of light on the ground around the feet."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    d = ((x - feet[0] * width) / (0.26 * width)) ** 2 + ((y - feet[1] * height + 1) / (0.028 * height)) ** 2
    light: np.ndarray = 1 - 0.5 * np.exp(-d)
    return light


def occlude(picture: np.ndarray, infrared: bool, rng: np.random.Generator) -> None:
    """Puts a pole, or a low wall, in front of the person, in place."""
    height, width = picture.shape[:2]
    colour = muted(rng, 40, 200, 0.0 if infrared else 0.3) / 255 * (0.6 if infrared else 1.0)
    if rng.random() < 0.5:
        x, wide = int(rng.uniform(0.05, 0.85) * width), int(rng.uniform(0.08, 0.18) * width)
        shade = np.linspace(1.1, 0.75, wide)[None, :, None]
        picture[:, x : x + wide] = (colour * shade)[:, : picture[:, x : x + wide].shape[1]]
    else:
        picture[int(rng.uniform(0.74, 0.9) * height) :] = colour


def sensor(picture: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """What the camera makes of the light: surveillance look, exposure, gamma, cast, blur and noise. uint8 [H,W,3]."""
    image = picture if camera.infrared else picture @ camera.mix.T
    haze = 0.5 * luminance(camera.haze_colour) if camera.infrared else camera.haze_colour
    amount = camera.haze * (0.5 if camera.infrared else 1)
    image = (1 - amount) * (0.5 + camera.contrast * (image - 0.5)) + amount * haze
    image = np.clip(image * camera.exposure * rng.uniform(0.93, 1.07), 0, 1) ** camera.gamma
    image = image * (lamp(*image.shape[:2]) if camera.infrared else camera.cast)
    if camera.blur > 0.25:
        image = gaussian_filter(image, (camera.blur, camera.blur, 0), truncate=3)
    grain = rng.normal(0, camera.noise, (*image.shape[:2], 1 if camera.infrared else 3))
    return (np.clip(image + grain, 0, 1) * 255 + 0.5).astype(np.uint8)


def lamp(height: int, width: int) -> np.ndarray:
    """Fall-off [H,W,1] of an infrared lamp."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    light: np.ndarray = 0.82 + 0.28 * np.exp(-(x**2) / 1.2 - y**2 / 1.5)
    return light[..., None]


def low_resolution(image: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    """The image sampled down by `factor` (bilinear), a little blurred, and back up; uint8 [H,W,3]."""
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize(
        (max(2, round(width / factor)), max(4, round(height / factor))), Image.Resampling.BILINEAR
    )
    soft = gaussian_filter(np.asarray(small, np.float32), (sigma := rng.uniform(0.2, 0.5), sigma, 0))
    back = Image.fromarray((soft + 0.5).clip(0, 255).astype(np.uint8)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    return np.asarray(back)
