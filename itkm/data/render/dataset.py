"""Rendered data sets: the three scenarios, the captioned corpus for pretraining, and fresh persons for its gate.

Every image has its own random stream, derived from the seed, the population, the person, the group and the index, so
that neither the order of rendering nor the number of processes matters. Populations (a scenario, the corpus, the fresh
persons) never share a person or, except that fresh persons meet the corpus's cameras, a camera.
"""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from itkm.data.render.captions import captions, prompt, vocabulary
from itkm.data.render.settings import RenderSettings
from itkm.data.render.wardrobe import ATTRIBUTES, Person, change_clothes, sample_person, tones

if TYPE_CHECKING:
    from itkm.data.render.camera import Camera

__all__ = [
    "ATTRIBUTES",
    "GROUPS",
    "Captioned",
    "RenderedImage",
    "prompt",
    "render_captioned",
    "render_fresh",
    "render_scenario",
    "vocabulary",
]

log = logging.getLogger(__name__)

GROUPS = {"vi": ("visible", "infrared"), "cc": ("outfit-a", "outfit-b"), "cr": ("high", "low")}
POPULATIONS = {"vi": 1, "cc": 2, "cr": 3, "pretrain": 4, "fresh": 5}
CAMERA_STREAM = 1_000_000
IDENTITIES_PER_TASK = 10


@dataclass(frozen=True)
class RenderedImage:
    """One image of a scenario.

    `image` is uint8 [H,W,3]; `person` counts from 1 in its scenario; `clothes` is person x 10 + outfit.
    """

    image: np.ndarray
    scenario: str
    group: str
    camera: str
    split: str
    person: int
    clothes: int
    attributes: dict[str, str]


@dataclass(frozen=True)
class Captioned:
    """N captioned images.

    `images` uint8 [N,H,W,3], three `captions` each, `attributes` str [N] by name, `infrared` bool [N], `person` and
    `outfit` int64 [N].
    """

    images: np.ndarray
    captions: list[list[str]]
    attributes: dict[str, np.ndarray]
    infrared: np.ndarray
    person: np.ndarray
    outfit: np.ndarray


def stream(settings: RenderSettings, population: str, *numbers: int) -> np.random.Generator:
    """The random stream of one thing in a population."""
    return np.random.default_rng([settings.seed, POPULATIONS[population], *numbers])


class Studio:
    """Takes pictures: owns the EGL context of this process and the meshes of the person in front of it."""

    def __init__(self, settings: RenderSettings) -> None:
        from itkm.data.render.body import load_body
        from itkm.data.render.draw import Painter

        self.settings = settings
        self.painter = Painter(settings.height, settings.width)
        self.body = load_body()

    def shoot(self, person: Person, takes: list[tuple[Camera, np.random.Generator]]) -> list[np.ndarray]:
        """Pictures uint8 [H,W,3] of a person in one outfit, one per camera and random stream."""
        from itkm.data.render.camera import take_picture
        from itkm.data.render.garments import dress, enlarge_head

        shape = enlarge_head(self.body, self.body.shape(person.phenotype))
        drawables, pictures = {}, []
        for camera, rng in takes:
            if camera.infrared not in drawables:
                visible = {name: p.colour for name, p in person.paint.items()}
                colours = tones(person, self.settings.infrared_tone) if camera.infrared else visible
                mesh = dress(person, shape, colours)
                drawables[camera.infrared] = self.painter.upload(mesh.vertices, mesh.faces)
            pictures.append(
                take_picture(self.painter, drawables[camera.infrared], self.body, shape, person, camera, rng)
            )
        for drawable in drawables.values():
            drawable.release()
        return pictures


@functools.cache
def studio(settings: RenderSettings) -> Studio:
    """This process's studio."""
    return Studio(settings)


def scenario_cameras(settings: RenderSettings, scenario: str) -> list[list[Camera]]:
    """The cameras of both groups, named `vi-c1` and so on."""
    from itkm.data.render.camera import make_camera

    n = settings.cameras_per_group
    out: list[list[Camera]] = [[], []]
    for g in range(2):
        for i in range(n):
            rng = stream(settings, scenario, CAMERA_STREAM + g * n + i)
            yaw = 2 * np.pi * (i + 0.5 * g) / n
            infrared = scenario == "vi" and g == 1
            name = f"{scenario}-c{g * n + i + 1}"
            out[g].append(make_camera(settings, name, rng, infrared=infrared, gap=settings.domain_gap, yaw=yaw))
    return out


def scenario_splits(settings: RenderSettings) -> list[tuple[str, int, int]]:
    """Split, person and images per group of every identity of a scenario, in order."""
    out, first = [], 1
    for split, count, images in (
        ("train", settings.train_identities, settings.train_images),
        ("validation", settings.validation_identities, settings.validation_images),
        ("test", settings.test_identities, settings.test_images),
    ):
        out += [(split, person, images) for person in range(first, first + count)]
        first += count
    return out


def render_scenario(settings: RenderSettings, scenario: str) -> Iterator[RenderedImage]:
    """All images of a scenario (`vi`, `cc` or `cr`), by split, person, group and index.

    Of a test identity, group 0 is gallery and group 1 is query. Raises InputError if EGL or the extra
    `render` is missing.
    """
    from itkm.data.render.camera import low_resolution

    cameras, place = scenario_cameras(settings, scenario), studio(settings)
    for split, number, count in scenario_splits(settings):
        rng = stream(settings, scenario, number)
        person = sample_person(rng)
        turn = int(rng.integers(settings.cameras_per_group))
        other = change_clothes(rng, person, bottoms=settings.bottoms_change, shoes=settings.shoes_change)
        for g, group in enumerate(GROUPS[scenario]):
            dressed = other if scenario == "cc" and g == 1 else person
            streams = [stream(settings, scenario, number, g, i) for i in range(count)]
            used = [cameras[g][(turn + i) % settings.cameras_per_group] for i in range(count)]
            images = place.shoot(dressed, list(zip(used, streams, strict=True)))
            for camera, own, image in zip(used, streams, images, strict=True):
                if scenario == "cr" and g == 1:
                    image = low_resolution(image, own.uniform(settings.low_factor_min, settings.low_factor_max), own)
                yield RenderedImage(
                    image=image,
                    scenario=scenario,
                    group=group,
                    camera=camera.name,
                    split=("gallery", "query")[g] if split == "test" else split,
                    person=number,
                    clothes=number * 10 + (1 if dressed is other else 0),
                    attributes=dressed.attributes,
                )


@functools.lru_cache(maxsize=1024)
def pretraining_camera(settings: RenderSettings, number: int, infrared: bool) -> Camera:
    """One of the milder cameras of the captioned corpus."""
    from itkm.data.render.camera import make_camera

    rng = stream(settings, "pretrain", CAMERA_STREAM + number, int(infrared))
    return make_camera(settings, f"pretrain-c{number}", rng, infrared=infrared)


def outfits_of(settings: RenderSettings, population: str, number: int, outfits: int) -> list[Person]:
    """An identity of the corpus in each of its outfits."""
    rng = stream(settings, population, number)
    out = [sample_person(rng)]
    while len(out) < outfits:
        out.append(change_clothes(rng, out[-1]))
    return out


def render_identities(
    settings: RenderSettings, population: str, identities: range, outfits: int, images: int, infrared: bool | None
) -> Captioned:
    """Captioned images of some identities of a population; `infrared` None draws it per image."""
    place = studio(settings)
    pictures, texts, labels, dark, persons, worn = [], [], [], [], [], []
    for number in identities:
        for outfit, person in enumerate(outfits_of(settings, population, number, outfits)):
            takes = []
            for i in range(images):
                rng = stream(settings, population, number, outfit, i)
                chance, camera = rng.random(), int(rng.integers(settings.pretrain_cameras))
                is_dark = chance < settings.pretrain_infrared if infrared is None else infrared
                takes.append((pretraining_camera(settings, camera, is_dark), rng))
                texts.append(captions(person.attributes, rng, infrared=is_dark))
                dark.append(is_dark)
            pictures += place.shoot(person, takes)
            labels += [person.attributes] * images
            persons += [number] * images
            worn += [outfit] * images
    return Captioned(
        images=np.stack(pictures),
        captions=texts,
        attributes={a: np.array([row[a] for row in labels]) for a in ATTRIBUTES},
        infrared=np.array(dark, bool),
        person=np.array(persons, np.int64),
        outfit=np.array(worn, np.int64),
    )


def joined(parts: list[Captioned], limit: int | None = None) -> Captioned:
    """Several corpora as one, cut off after `limit` images."""
    return Captioned(
        images=np.concatenate([p.images for p in parts])[:limit],
        captions=[c for p in parts for c in p.captions][:limit],
        attributes={a: np.concatenate([p.attributes[a] for p in parts])[:limit] for a in ATTRIBUTES},
        infrared=np.concatenate([p.infrared for p in parts])[:limit],
        person=np.concatenate([p.person for p in parts])[:limit],
        outfit=np.concatenate([p.outfit for p in parts])[:limit],
    )


def prepare_worker() -> None:
    """One core per process: OpenGL's software rasteriser and torch would each take all of them."""
    os.environ["LP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


def render_captioned(settings: RenderSettings, *, images: int | None = None) -> Captioned:
    """The captioned corpus, or its first `images` images, rendered in `settings.workers` processes.

    Processes are spawned, so a script that calls this needs the usual `if __name__ == "__main__":`.
    """
    each = settings.pretrain_outfits * settings.pretrain_images
    identities = (
        settings.pretrain_identities if images is None else min(settings.pretrain_identities, -(-images // each))
    )
    tasks = [
        range(i, min(i + IDENTITIES_PER_TASK, identities + 1)) for i in range(1, identities + 1, IDENTITIES_PER_TASK)
    ]
    rest = (settings.pretrain_outfits, settings.pretrain_images, None)
    if settings.workers == 1 or len(tasks) == 1:
        return joined([render_identities(settings, "pretrain", task, *rest) for task in tasks], images)
    parts = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(settings.workers, mp_context=context, initializer=prepare_worker) as pool:
        futures = [pool.submit(render_identities, settings, "pretrain", task, *rest) for task in tasks]
        for i, future in enumerate(futures, 1):
            parts.append(future.result())
            if i % 10 == 0 or i == len(futures):
                log.info("captioned corpus: %d of %d identities rendered", tasks[i - 1].stop - 1, identities)
    return joined(parts, images)


def render_fresh(settings: RenderSettings, identities: int, *, infrared: bool) -> Captioned:
    """Persons whom neither a scenario nor the corpus knows; the same persons and outfits whether `infrared` or not."""
    tasks = [
        range(i, min(i + IDENTITIES_PER_TASK, identities + 1)) for i in range(1, identities + 1, IDENTITIES_PER_TASK)
    ]
    return joined([render_identities(settings, "fresh", task, 1, settings.fresh_images, infrared) for task in tasks])
