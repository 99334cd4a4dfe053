"""Captions of rendered persons, prompts in the same words, and the list of all those words."""

from __future__ import annotations

import functools
import re

import numpy as np

from itkm.data.render.wardrobe import ATTRIBUTES, HAIR_COLOURS

COLOUR_ATTRIBUTES = ("hair_colour", "top_colour", "bottoms_colour", "shoes_colour", "bag_colour", "hat_colour", "skin")
STABLE = ("sex", "build", "skin", "hair", "hair_colour", "beard", "bag", "bag_colour", "hat", "hat_colour")


def opening(infrared: bool) -> str:
    """How every caption and prompt begins."""
    return "an infrared photo of" if infrared else "a photo of"


def article(phrase: str) -> str:
    """The phrase with a or an."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def join(*words: str) -> str:
    """Words with single spaces; empty ones vanish."""
    return " ".join(w for w in words if w)


def listed(parts: list[str]) -> str:
    """Parts as a, b and c."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def hair_phrase(style: str, colour: str) -> str:
    """Hair in words; `colour` may be empty."""
    if style == "bald":
        return "a bald head"
    if style in ("ponytail", "bun"):
        return article(join(colour, style))
    return join(style, colour, "hair")


def top_phrase(garment: str, colour: str, pattern: str) -> str:
    """The garment of the upper body in words; `colour` and `pattern` may be empty."""
    if pattern == "logo":
        return f"{article(join(colour, garment))} with a logo"
    return article(join(pattern, colour, garment))


def bottoms_phrase(garment: str, colour: str) -> str:
    """Bottoms in words: only a skirt takes an article."""
    return article(join(colour, garment)) if garment == "skirt" else join(colour, garment)


class Chooser:
    """Decides by chance what one caption names; in the infrared it names no colours."""

    def __init__(self, rng: np.random.Generator, infrared: bool) -> None:
        self.rng, self.infrared = rng, infrared

    def __call__(self, share: float) -> bool:
        """True with the probability `share`."""
        return bool(self.rng.random() < share)

    def colour(self, name: str, share: float = 0.9) -> str:
        """The colour, or nothing."""
        return name if not self.infrared and name != "none" and self(share) else ""


def who(a: dict[str, str], says: Chooser) -> str:
    """The person, with build, hair, skin and beard."""
    noun = a["sex"] if says(0.9) else "person"
    build = a["build"] if says(0.6) else ""
    cues = []
    if says(0.95):
        cues.append(hair_phrase(a["hair"], says.colour(a["hair_colour"], 0.95)))
    if not says.infrared and says(0.55):
        cues.append(f"{a['skin']} skin")
    if a["beard"] == "beard" and says(0.85):
        cues.append("a beard")
    return article(join(build, noun)) + (f" with {listed(cues)}" if cues else "")


def things(a: dict[str, str], says: Chooser) -> str:
    """What the person carries, or that they carry nothing."""
    if a["bag"] != "none":
        noun = a["bag"] if says(0.93) else "bag"
        return f", carrying {article(join(says.colour(a['bag_colour']), noun))}" if says(0.95) else ""
    return ", without a bag" if says(0.6) else ""


def hat_phrase(a: dict[str, str], says: Chooser) -> str:
    """The hat, or nothing."""
    if a["hat"] == "none" or not says(0.95):
        return ""
    return article(join(says.colour(a["hat_colour"]), a["hat"] if says(0.93) else "hat"))


def full_caption(a: dict[str, str], rng: np.random.Generator, *, infrared: bool) -> str:
    """A caption of the whole person, clothes included."""
    says = Chooser(rng, infrared)
    worn = []
    if says(0.96):
        pattern = a["pattern"] if says(0.95 if a["pattern"] != "plain" else 0.6) else ""
        worn.append(top_phrase(a["top"] if says(0.9) else "top", says.colour(a["top_colour"], 0.95), pattern))
    if a["bottoms"] != "none" and says(0.93):
        worn.append(bottoms_phrase(a["bottoms"] if says(0.92) else "bottoms", says.colour(a["bottoms_colour"])))
    if says(0.5) and not infrared:
        worn.append(join(says.colour(a["shoes_colour"], 1.0), "shoes"))
    if hat := hat_phrase(a, says):
        worn.append(hat)
    wearing = f" wearing {listed(worn)}" if worn else ""
    return f"{opening(infrared)} {who(a, says)}{wearing}{things(a, says)}"


def stable_caption(a: dict[str, str], rng: np.random.Generator, *, infrared: bool) -> str:
    """A caption of what survives a change of clothes: sex, build, skin, hair, beard, hat and bag."""
    says = Chooser(rng, infrared)
    hat = hat_phrase(a, says)
    wearing = f" wearing {hat}" if hat else (" without a hat" if a["hat"] == "none" and says(0.5) else "")
    return f"{opening(infrared)} {who(a, says)}{wearing}{things(a, says)}"


def captions(a: dict[str, str], rng: np.random.Generator, *, infrared: bool) -> list[str]:
    """Three captions: two of the whole person, one of stable cues only."""
    return [
        full_caption(a, rng, infrared=infrared),
        full_caption(a, rng, infrared=infrared),
        stable_caption(a, rng, infrared=infrared),
    ]


def prompt(attribute: str, value: str, *, infrared: bool) -> str:
    """Text for zero-shot classification of an attribute, in the captions' words.

    Raises ValueError for an unknown value, and for a colour in the infrared, which no caption names.
    """
    if value not in ATTRIBUTES[attribute]:
        raise ValueError(f"{attribute} has no value {value!r}; expected one of {ATTRIBUTES[attribute]}")
    if infrared and attribute in COLOUR_ATTRIBUTES:
        raise ValueError(
            f"{attribute} is not visible in the infrared; ask only for attributes outside {COLOUR_ATTRIBUTES}"
        )
    return f"{opening(infrared)} {_described(attribute, value)}"


def _described(attribute: str, value: str) -> str:
    """A person of whom one attribute is said."""
    person = "a person"
    absent = {"bag": "without a bag", "hat": "without a hat", "beard": "without a beard", "bottoms": "wearing a dress"}
    if value == "none":
        kind = attribute.removesuffix("_colour")
        return f"{person} with a bald head" if kind == "hair" else f"{person} {absent[kind]}"
    return {
        "sex": article(value),
        "build": article(f"{value} person"),
        "skin": f"{person} with {value} skin",
        "hair": f"{person} with {hair_phrase(value, '')}",
        "hair_colour": f"{person} with {value} hair",
        "beard": f"{person} with a beard",
        "top": f"{person} wearing {article(value)}",
        "top_colour": f"{person} wearing {article(value)} top",
        "pattern": f"{person} wearing {top_phrase('top', '', value)}",
        "bottoms": f"{person} wearing {bottoms_phrase(value, '')}",
        "bottoms_colour": f"{person} wearing {value} bottoms",
        "shoes_colour": f"{person} wearing {value} shoes",
        "bag": f"{person} carrying {article(value)}",
        "bag_colour": f"{person} carrying {article(value)} bag",
        "hat": f"{person} wearing {article(value)}",
        "hat_colour": f"{person} wearing {article(value)} hat",
    }[attribute]


def words_of(text: str) -> list[str]:
    """The words of a caption; a hyphenated word is one word."""
    return re.findall(r"[a-z]+(?:-[a-z]+)*", text.lower())


@functools.cache
def vocabulary() -> list[str]:
    """Every word that a caption or a prompt may contain, sorted."""
    glue = "a an and bag beard bottoms carrying hair hat head infrared logo of person photo shoes skin top wearing"
    words = {*glue.split(), "with", "without"}
    for values in (*ATTRIBUTES.values(), tuple(HAIR_COLOURS)):
        for value in values:
            words.update(words_of(value))
    return sorted(words - {"none"})
