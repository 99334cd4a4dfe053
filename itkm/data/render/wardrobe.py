"""Who a person is and what they wear: attributes by name, numbers of the body, and how both are drawn by chance."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (26, 26, 30),
    "white": (236, 236, 232),
    "gray": (128, 130, 132),
    "red": (196, 34, 38),
    "blue": (36, 86, 200),
    "navy": (24, 32, 88),
    "green": (36, 132, 62),
    "yellow": (234, 202, 48),
    "orange": (234, 120, 30),
    "purple": (122, 50, 156),
    "pink": (238, 138, 176),
    "brown": (112, 70, 40),
    "beige": (206, 192, 142),
    "teal": (24, 144, 146),
}
HAIR_COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (24, 20, 20),
    "brown": (88, 54, 30),
    "blond": (222, 184, 104),
    "red": (170, 70, 24),
    "gray": (170, 168, 166),
}
HAIR_INFRARED = {"black": 0.22, "brown": 0.42, "blond": 0.78, "red": 0.6, "gray": 0.68}
SKINS = {"light": (236, 196, 170), "tan": (196, 144, 106), "dark": (104, 66, 46)}

TOPS = ("t-shirt", "shirt", "jacket", "hoodie", "coat", "tank top", "dress")
PATTERNS = ("plain", "striped", "vertical-striped", "checked", "dotted", "two-tone", "logo")
BOTTOMS = ("trousers", "jeans", "shorts", "skirt", "none")
BAGS = ("none", "backpack", "shoulder bag", "handbag")
HATS = ("none", "cap", "beanie")
HAIRS = ("bald", "short", "long", "ponytail", "bun", "curly")
BUILDS = ("slim", "average", "heavy", "muscular")

BOTTOMS_COLOURS = ("black", "white", "gray", "red", "blue", "navy", "green", "brown", "beige", "teal")
JEANS_COLOURS = ("blue", "navy", "black", "gray")
SHOES_COLOURS = ("black", "white", "red", "blue", "brown", "gray", "yellow")
BAG_COLOURS = ("black", "white", "red", "blue", "green", "yellow", "brown", "orange", "purple", "gray")

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "sex": ("man", "woman"),
    "build": BUILDS,
    "skin": tuple(SKINS),
    "hair": HAIRS,
    "hair_colour": (*HAIR_COLOURS, "none"),
    "beard": ("none", "beard"),
    "top": TOPS,
    "top_colour": tuple(COLOURS),
    "pattern": PATTERNS,
    "bottoms": BOTTOMS,
    "bottoms_colour": (*BOTTOMS_COLOURS, "none"),
    "shoes_colour": SHOES_COLOURS,
    "bag": BAGS,
    "bag_colour": (*BAG_COLOURS, "none"),
    "hat": HATS,
    "hat_colour": (*BAG_COLOURS, "none"),
}
OUTFIT = ("top", "top_colour", "pattern", "bottoms", "bottoms_colour", "shoes_colour")
PAINTED = ("top", "second", "inner", "bottoms", "shoes", "bag", "hat", "hair", "skin")


@dataclass(frozen=True)
class Paint:
    """A surface: sRGB `colour` [3] in 0..1 and `reflectance` 0..1 in the infrared, random per garment."""

    colour: np.ndarray
    reflectance: float


@dataclass(frozen=True)
class Person:
    """An identity in one outfit.

    `attributes` has a value of ATTRIBUTES per key; `phenotype` feeds the body model; `gait` and `numbers` hold what has
    no name (stride, arm swing, lean, stripe period, ...); `paint` has the keys PAINTED.
    """

    attributes: dict[str, str]
    phenotype: dict[str, float]
    gait: dict[str, float]
    numbers: dict[str, float]
    paint: dict[str, Paint] = field(default_factory=dict)


def choose(
    rng: np.random.Generator, values: tuple[str, ...] | list[str], weights: tuple[float, ...] | None = None
) -> str:
    """One of the values, by weight if given."""
    if weights is None:
        return values[int(rng.integers(len(values)))]
    p = np.asarray(weights, float)
    return values[int(rng.choice(len(values), p=p / p.sum()))]


def luminance(colour: np.ndarray | tuple[float, ...]) -> float:
    """Luma of an sRGB colour, in the colour's own units."""
    return float(np.dot(np.asarray(colour, float), (0.299, 0.587, 0.114)))


def paint(rng: np.random.Generator, colour: tuple[int, int, int] | np.ndarray, jitter: float = 8.0) -> Paint:
    """A named colour as this person's garment has it: two red shirts differ a little."""
    shade = np.clip(np.asarray(colour) + rng.normal(0, jitter, 3), 6, 248) / 255
    return Paint(shade, float(rng.uniform(0.1, 0.95)))


def body_of(rng: np.random.Generator, sex: str) -> tuple[str, dict[str, float]]:
    """A build by name and the phenotype that shows it: sexes, heights and weights vary strongly, all are adults."""
    build = choose(rng, BUILDS, (0.3, 0.3, 0.25, 0.15))
    ranges = {  # weight, muscle
        "slim": ((0.02, 0.22), (0.3, 0.55)),
        "average": ((0.4, 0.58), (0.4, 0.6)),
        "heavy": ((0.85, 1.0), (0.25, 0.55)),
        "muscular": ((0.5, 0.7), (0.88, 1.0)),
    }
    weight, muscle = ranges[build]
    phenotype = {
        "gender": float(rng.uniform(0, 0.15) if sex == "man" else rng.uniform(0.85, 1)),
        "age": float(rng.uniform(0.6, 0.9)),
        "muscle": float(rng.uniform(*muscle)),
        "weight": float(rng.uniform(*weight)),
        "height": float(rng.uniform(0.1, 0.9)),
        "proportions": float(rng.uniform(0.1, 0.9)),
    }
    return build, phenotype


def sample_outfit(rng: np.random.Generator, sex: str) -> tuple[dict[str, str], dict[str, Paint], dict[str, float]]:
    """Names, paints and numbers of an outfit: top, pattern, bottoms, shoes."""
    top = choose(rng, TOPS, (1, 1, 1, 1, 1, 0.8, 0.9 if sex == "woman" else 0))
    if top == "dress":
        bottoms, bottoms_colour = "none", "none"
    else:
        bottoms = choose(rng, BOTTOMS[:4], (1, 1, 0.9, 0.9 if sex == "woman" else 0))
        bottoms_colour = choose(rng, JEANS_COLOURS if bottoms == "jeans" else BOTTOMS_COLOURS)
    colour = choose(rng, list(COLOURS))
    contrasting = [c for c in COLOURS if abs(luminance(COLOURS[c]) - luminance(COLOURS[colour])) > 60]
    pattern = choose(rng, PATTERNS, (2, 1, 1, 1, 1, 1, 1))
    names = {
        "top": top,
        "top_colour": colour,
        "pattern": pattern,
        "bottoms": bottoms,
        "bottoms_colour": bottoms_colour,
        "shoes_colour": choose(rng, SHOES_COLOURS),
    }
    second, inner = choose(rng, contrasting), choose(rng, contrasting)
    paints = {
        "top": paint(rng, COLOURS[colour]),
        "second": paint(rng, COLOURS[second]),
        "inner": paint(rng, COLOURS[inner]),
        "bottoms": paint(rng, COLOURS.get(bottoms_colour, COLOURS["gray"])),
        "shoes": paint(rng, COLOURS[names["shoes_colour"]]),
    }
    numbers = {
        "period": float(rng.uniform(0.1, 0.15)),
        "kept": float(rng.uniform(0.5, 0.9)),
        "split": float(rng.uniform(0.24, 0.32)),
        "length": float(rng.uniform(0, 1)),
    }
    return names, paints, numbers


def sample_person(rng: np.random.Generator) -> Person:
    """A new identity in a first outfit."""
    sex = choose(rng, ("man", "woman"))
    build, phenotype = body_of(rng, sex)
    hair = choose(rng, HAIRS, (0.9, 1.4, 0.6, 0.15, 0.15, 0.9) if sex == "man" else (0.03, 0.8, 1.2, 1.1, 1.0, 0.9))
    hair_colour = "none" if hair == "bald" else choose(rng, list(HAIR_COLOURS))
    beard = "beard" if sex == "man" and rng.random() < 0.4 else "none"
    hat = "none" if hair in ("bun", "curly") else choose(rng, HATS, (0.55, 0.3, 0.3))
    bag = choose(rng, BAGS, (0.8, 1, 0.9, 0.8))
    skin = choose(rng, list(SKINS), (1, 0.8, 0.8))
    names, paints, numbers = sample_outfit(rng, sex)
    bag_colour = "none" if bag == "none" else choose(rng, BAG_COLOURS)
    hat_colour = "none" if hat == "none" else choose(rng, BAG_COLOURS)
    attributes = {
        "sex": sex, "build": build, "skin": skin, "hair": hair, "hair_colour": hair_colour, "beard": beard,
        "bag": bag, "bag_colour": bag_colour, "hat": hat, "hat_colour": hat_colour, **names,
    }  # fmt: skip
    hair_paint = paint(rng, HAIR_COLOURS.get(hair_colour, HAIR_COLOURS[choose(rng, list(HAIR_COLOURS))]), 6)
    paints |= {
        "bag": paint(rng, COLOURS.get(bag_colour, COLOURS["gray"])),
        "hat": paint(rng, COLOURS.get(hat_colour, COLOURS["gray"])),
        "hair": replace(hair_paint, reflectance=HAIR_INFRARED.get(hair_colour, 0.4)),
        "skin": replace(paint(rng, SKINS[skin], 7), reflectance=float(rng.uniform(0.8, 0.95))),
    }
    numbers["side"] = float(choose(rng, ("-1", "1")))
    numbers["hair_length"] = float(rng.uniform(0, 1))
    gait = {
        "stride": float(rng.uniform(0.25, 0.6)),
        "swing": float(rng.uniform(0.15, 0.55)),
        "elbow": float(rng.uniform(0, 0.5)),
        "lean": float(rng.uniform(-0.03, 0.12)),
        "arms": float(rng.uniform(-0.06, 0.1)),
        "head": float(rng.uniform(-0.12, 0.2)),
    }
    return Person(attributes, phenotype, gait, numbers, paints)


def change_clothes(rng: np.random.Generator, person: Person, *, bottoms: float = 1.0, shoes: float = 1.0) -> Person:
    """The same person in another outfit.

    Garment, colour and pattern of the top differ; `bottoms` and `shoes` are the probabilities that those change.
    """
    old = person.attributes
    while True:
        names, paints, numbers = sample_outfit(rng, old["sex"])
        if all(names[k] != old[k] for k in ("top", "top_colour", "pattern")):
            break
    keep_shoes = rng.random() >= shoes
    # A dress has no bottoms to keep, so changing from or to one always changes them.
    keep_bottoms = rng.random() >= bottoms and "dress" not in (names["top"], old["top"])
    if keep_bottoms:
        names |= {k: old[k] for k in ("bottoms", "bottoms_colour")}
        paints["bottoms"] = person.paint["bottoms"]
        numbers["length"] = person.numbers["length"]
    if keep_shoes:
        names["shoes_colour"] = old["shoes_colour"]
        paints["shoes"] = person.paint["shoes"]
    return replace(person, attributes=old | names, paint=person.paint | paints, numbers=person.numbers | numbers)


def tones(person: Person, tone: float) -> dict[str, np.ndarray]:
    """Infrared grey of every painted surface as equal channels [3]: `tone` x luminance + (1 - tone) x reflectance.

    Skin and hair have their own fixed reflectance; the second colour of a pattern keeps part of its contrast.
    """
    out = {}
    for name, p in person.paint.items():
        share = 0.15 if name in ("skin", "hair") else tone
        out[name] = share * luminance(p.colour) + (1 - share) * p.reflectance
    sign = 1 if luminance(person.paint["second"].colour) > luminance(person.paint["top"].colour) else -1
    step = sign * person.numbers["kept"] * 0.45
    out["second"] = out["top"] + (step if 0.05 < out["top"] + step < 1 else -step)
    return {name: np.full(3, np.clip(value, 0.04, 1)) for name, value in out.items()}
