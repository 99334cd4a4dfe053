"""Geometry of a dressed person: skin, hair, clothes, bags and hats as triangles that the bones move.

Clothes are cut from the helper tights and the helper skirt of the base mesh and eased outwards, so that they fit every
body. Where a garment ends is decided on the neutral body, in metres: z = 0 near the hips, ground at -0.82, neck at 0.6,
eyes at 0.77; x points to the person's left, y to the back. An arm is measured from 0 (shoulder) to 1 (wrist).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from itkm.data.render.body import Body, Shape, load_body
from itkm.data.render.draw import PATTERN_CODES, VERTEX
from itkm.data.render.wardrobe import Person

HEAD_SCALE = 1.17
TORSO_RADIUS, ARM_RADIUS = 0.14, 0.055
AXIS_Y = -0.03
GROUND = -0.80


@dataclass(frozen=True)
class Cut:
    """How a top is cut.

    End of the `sleeve` (0 .. 1), `hem` (z), `ease` (m), radius of the `neck` opening (m), half width of an open `front`
    (m) and where the `lap` of a coat or dress ends (z).
    """

    sleeve: float
    hem: float
    ease: float
    neck: float
    front: float = 0.0
    lap: float | None = None


CUTS = {
    "t-shirt": Cut(0.36, 0.04, 0.013, 0.085),
    "shirt": Cut(0.95, 0.02, 0.013, 0.065),
    "jacket": Cut(0.98, 0.06, 0.028, 0.07, front=0.05),
    "hoodie": Cut(0.98, 0.035, 0.026, 0.075),
    "coat": Cut(1.0, 0.0, 0.032, 0.07, front=0.018, lap=-0.42),
    "tank top": Cut(-0.3, 0.05, 0.012, 0.1),
    "dress": Cut(0.18, 0.02, 0.013, 0.1, lap=-0.34),
}
LEGS = {"trousers": (-0.775, 0.016), "jeans": (-0.76, 0.009), "shorts": (-0.29, 0.02)}


@dataclass(frozen=True)
class Patch:
    """A part of the base mesh.

    `index` [N] into the mesh, `faces` [F,3] into `index`; `at` [N,3] lies on the neutral body, `cloth` [N,3] are
    pattern coordinates, `arm` [N] is the position along the arm (-1 off the arm).
    """

    index: np.ndarray
    faces: np.ndarray
    at: np.ndarray
    cloth: np.ndarray
    arm: np.ndarray
    radius: float = TORSO_RADIUS


@dataclass(frozen=True)
class Mesh:
    """VERTEX records [N] and triangles [F,3]."""

    vertices: np.ndarray
    faces: np.ndarray


def weight_of(body: Body, *prefixes: str) -> np.ndarray:
    """Weight [V] of the bones whose names start so."""
    chosen = np.array([name.startswith(prefixes) for name in body.bones])
    weight: np.ndarray = (chosen[body.bone_index] * body.bone_weight).sum(1)
    return weight


def arm_frame(body: Body, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Position along an arm [V] and pattern coordinates [V,3] around it, on the neutral body."""
    heads = body.neutral.heads
    shoulder, elbow, wrist = (heads[body.bone(f"{n}.{side}")] for n in ("upperarm01", "lowerarm01", "wrist"))
    upper, lower = elbow - shoulder, wrist - elbow
    lengths = np.linalg.norm(upper), np.linalg.norm(lower)
    v = body.neutral.vertices
    t_upper = np.minimum((v - shoulder) @ upper / lengths[0] ** 2, 1)
    t_lower = np.clip((v - elbow) @ lower / lengths[1] ** 2, 0, 1.5)
    metres = t_upper * lengths[0] + t_lower * lengths[1]
    spine = shoulder + t_upper[:, None] * upper + t_lower[:, None] * lower
    out = (v - spine) @ np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 0]])
    return metres / sum(lengths), np.column_stack([out[:, 0], out[:, 1], metres])


@functools.cache
def patches() -> dict[str, Patch]:
    """All parts of the base mesh that are ever drawn."""
    body = load_body()
    v = body.neutral.vertices
    arms = {s: weight_of(body, *(f"{n}" for n in _names(body, s))) for s in "LR"}
    frames = {s: arm_frame(body, s) for s in "LR"}
    arm = np.full(len(v), -1.0)
    for s in "LR":
        arm[arms[s] > 0.5] = frames[s][0][arms[s] > 0.5]
    trunk = v - [0, AXIS_Y, 0]
    head = weight_of(body, "head", "eye") > 0.5

    def patch(
        faces: np.ndarray, cloth: np.ndarray = trunk, along: np.ndarray = arm, radius: float = TORSO_RADIUS
    ) -> Patch:
        index, local = np.unique(faces, return_inverse=True)
        return Patch(index, local.reshape(-1, 3).astype(np.int32), v[index], cloth[index], along[index], radius)

    skin, tights = thinned(body.faces["body"], v, arm > -1, head), body.faces["helper-tights"]
    foot = v[tights][:, :, 2].max(1) < -0.66
    out = {
        "feet": patch(tights[foot]),
        "skirt": patch(body.faces["helper-skirt"]),
        "hair": patch(body.faces["helper-hair"]),
    }
    sleeves = {s: (arms[s] > 0.5)[tights].sum(1) >= 2 for s in "LR"}
    out["trunk"] = patch(tights[~sleeves["L"] & ~sleeves["R"]])
    for s in "LR":
        out[f"sleeve.{s}"] = patch(tights[sleeves[s]], frames[s][1], frames[s][0], ARM_RADIUS)
    face = head[skin].all(1)
    inner = (v[skin][:, :, 2] > 0.6).all(1) & ~face
    out["head"] = patch(skin[face])
    out["skin"] = patch(skin[~face | inner])
    out["eyes"] = patch(np.concatenate([body.faces["helper-l-eye"], body.faces["helper-r-eye"]]))
    return out


def thinned(faces: np.ndarray, at: np.ndarray, *regions: np.ndarray, cell: float = 0.008) -> np.ndarray:
    """Triangles [F,3] after merging the vertices `at` [V,3] of each grid cell.

    Details below half a pixel would cost most of the time. Vertices of different `regions` (bool [V]) stay apart.
    """
    key = np.column_stack([np.floor(at / cell).astype(int), *regions])
    used = np.unique(faces)
    _, first, inverse = np.unique(key[used], axis=0, return_index=True, return_inverse=True)
    target = np.zeros(len(at), faces.dtype)
    target[used] = used[first][inverse.reshape(-1)]
    merged = target[faces]
    distinct = (merged[:, 0] != merged[:, 1]) & (merged[:, 1] != merged[:, 2]) & (merged[:, 0] != merged[:, 2])
    thin: np.ndarray = merged[distinct]
    return thin


def _names(body: Body, side: str) -> list[str]:
    """The bones of an arm and its hand."""
    stems = ("upperarm", "lowerarm", "wrist", "finger", "metacarpal")
    return [b for b in body.bones if b.startswith(stems) and b.endswith(f".{side}")]


def enlarge_head(body: Body, shape: Shape) -> Shape:
    """The shape with a larger head: at 96 pixels a true head is 12 pixels high and says little."""
    w = weight_of(body, "head", "eye")[:, None]
    pivot = shape.heads[body.bone("neck03")]
    heads = shape.heads.copy()
    for name in ("eye.L", "eye.R"):
        heads[body.bone(name)] = pivot + HEAD_SCALE * (heads[body.bone(name)] - pivot)
    return replace(shape, vertices=shape.vertices + (HEAD_SCALE - 1) * w * (shape.vertices - pivot), heads=heads)


class Tailor:
    """Collects the parts of one person. `colours` maps the painted surfaces to RGB [3] in 0..1."""

    def __init__(self, person: Person, shape: Shape, colours: dict[str, np.ndarray]) -> None:
        self.body, self.person, self.shape, self.colours = load_body(), person, shape, colours
        self.patches = patches()
        self.parts: list[Mesh] = []

    def lay(
        self,
        name: str,
        ease: float | np.ndarray,
        cut: np.ndarray | float,
        colour: np.ndarray,
        *,
        second: np.ndarray | None = None,
        pattern: str = "plain",
        scale: float = 1.0,
        flare: float = 0.0,
        shift: np.ndarray | float = 0.0,
    ) -> None:
        """Adds a patch eased outwards by `ease` metres and moved by `shift` [N,3].

        `cut` [N] is positive where there is none of it; `colour` is [3] or [N,3]; `flare` widens a skirt downwards.
        """
        patch = self.patches[name]
        cut = np.broadcast_to(np.asarray(cut, float), len(patch.index))
        out = np.zeros(len(patch.index), VERTEX)
        out["normal"] = self.shape.normals[patch.index]
        position = self.shape.vertices[patch.index] + np.asarray(ease).reshape(-1, 1) * out["normal"] + shift
        if flare:
            grow = 1 + flare * np.maximum(0.1 - patch.at[:, 2:], 0)
            position = (position - [0, AXIS_Y, 0]) * np.where([True, True, False], grow, 1) + [0, AXIS_Y, 0]
        out["position"] = position
        out["bones"], out["weights"] = self.body.bone_index[patch.index], self.body.bone_weight[patch.index]
        out["colour"], out["second"] = colour, colour if second is None else second
        out["cloth"] = patch.cloth
        out["code"] = np.column_stack(
            [cut, *(np.full(len(cut), x) for x in (PATTERN_CODES[pattern], scale, patch.radius))]
        )
        faces = patch.faces[(cut[patch.faces] <= 0).any(1)]
        used = np.zeros(len(out), bool)
        used[faces] = True
        self.parts.append(Mesh(out[used], (np.cumsum(used) - 1)[faces]))

    def blob(
        self,
        bone: int,
        centre: np.ndarray,
        radii: tuple[float, float, float],
        colour: np.ndarray,
        *,
        square: float = 1.0,
        tilt: float = 0.0,
    ) -> None:
        """Adds an ellipsoid (`square` 1) or rounded box (0.3) that one bone moves; `tilt` turns it about x."""
        directions, faces = sphere()
        bulge = np.sign(directions) * np.abs(directions) ** square
        normal = np.sign(directions) * np.abs(directions) ** (2 - square) / np.asarray(radii)
        c, s = np.cos(tilt), np.sin(tilt)
        turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
        out = np.zeros(len(directions), VERTEX)
        out["position"] = (bulge * radii) @ turn.T + centre
        out["normal"] = normal / np.linalg.norm(normal, axis=1, keepdims=True) @ turn.T
        out["bones"][:, 0], out["weights"][:, 0] = bone, 1
        out["colour"] = out["second"] = colour
        out["code"][:, 0] = -1
        self.parts.append(Mesh(out, faces))

    def at(self, mask: np.ndarray, name: str = "trunk") -> np.ndarray:
        """Positions [K,3] on this person of the vertices of a patch that `mask` [N] chooses."""
        points: np.ndarray = self.shape.vertices[self.patches[name].index[mask]]
        return points

    def mesh(self) -> Mesh:
        """All parts as one mesh."""
        offsets = np.cumsum([0] + [len(p.vertices) for p in self.parts[:-1]])
        faces = np.concatenate([p.faces + o for p, o in zip(self.parts, offsets, strict=True)])
        return Mesh(np.concatenate([p.vertices for p in self.parts]), faces.astype(np.int32))


@functools.cache
def sphere(rows: int = 9, columns: int = 14) -> tuple[np.ndarray, np.ndarray]:
    """Unit sphere: vertices [N,3] and triangles [F,3]."""
    polar, round_ = np.meshgrid(
        np.linspace(1e-3, np.pi - 1e-3, rows), np.linspace(0, 2 * np.pi, columns), indexing="ij"
    )
    points = np.stack([np.sin(polar) * np.cos(round_), np.sin(polar) * np.sin(round_), np.cos(polar)], -1).reshape(
        -1, 3
    )
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    a = (i * columns + j).ravel()
    faces = np.concatenate([np.stack([a, a + columns, a + 1], 1), np.stack([a + 1, a + columns, a + columns + 1], 1)])
    return points, faces.astype(np.int32)


def dress(person: Person, shape: Shape, colours: dict[str, np.ndarray]) -> Mesh:
    """The whole person as one mesh, in the rest pose. `colours` has the keys of `wardrobe.PAINTED`."""
    tailor = Tailor(person, shape, colours)
    add_skin(tailor)
    add_head(tailor)
    add_hair(tailor)
    add_top(tailor)
    add_bottoms(tailor)
    add_shoes(tailor)
    add_bag(tailor)
    add_hat(tailor)
    return tailor.mesh()


def add_skin(t: Tailor) -> None:
    """Arms, legs and neck, as far as the clothes leave them bare."""
    a, patch = t.person.attributes, t.patches["skin"]
    cut = CUTS[a["top"]]
    x, z = patch.at[:, 0], patch.at[:, 2]
    lowest = LEGS[a["bottoms"]][0] if a["bottoms"] in LEGS else skirt_hem(t.person)
    on_arm = patch.arm > -1
    bare = (
        (on_arm & (patch.arm > cut.sleeve - 0.12))
        | (~on_arm & (z > 0.44) & (np.abs(x) < 0.3))
        | ((z < lowest + 0.1) & (z > -0.76))
    )
    bare |= (z < -0.1) & (a["bottoms"] in ("skirt", "none")) & (z > -0.76)
    t.lay("skin", 0.0, np.where(bare, -1.0, 1.0), t.colours["skin"])


def add_head(t: Tailor) -> None:
    """Face with brows, lips and beard as vertex colours, and eyes."""
    patch = t.patches["head"]
    x, y, z = patch.at.T
    eye = t.body.neutral.heads[t.body.bone("eye.L")]
    up, side, front = z - eye[2], np.abs(x), y < -0.06
    skin, hair = t.colours["skin"], t.colours["hair"]
    colour = np.tile(skin, (len(x), 1))

    def tint(mask: np.ndarray, tone: np.ndarray, share: float) -> None:
        colour[mask] = (1 - share) * colour[mask] + share * tone

    if t.person.attributes["beard"] == "beard":
        tint(
            front & (up < -0.036) & (side > 0.012 + 0 * x)
            | (front & (up < -0.075))
            | (front & (up < -0.04) & (up > -0.052)),
            hair * 0.9,
            0.92,
        )
    tint(front & (np.abs(up + 0.063) < 0.008) & (side < 0.024), skin * [0.78, 0.42, 0.42], 0.8)
    tint(front & (np.hypot(side - eye[0], up * 1.5) < 0.017), skin * 0.35, 0.75)
    tint(front & (np.abs(up - 0.022) < 0.006) & (side > 0.012) & (side < 0.05), hair * 0.6, 0.85)
    t.lay("head", 0.0, -1.0, colour)
    white = np.full(3, 0.85 if skin.mean() > 0.3 else 0.7)
    t.lay("eyes", 0.0, -1.0, np.where(t.patches["eyes"].at[:, 1:2] < eye[1] - 0.0125, 0.06, white))


def eye_level(t: Tailor) -> float:
    """Height of the eyes on the neutral body."""
    return float(t.body.neutral.heads[t.body.bone("eye.L")][2])


def hairline(t: Tailor, lower: float = 0.0) -> np.ndarray:
    """Height [N] of the head patch above the hairline, in metres."""
    _, y, z = t.patches["head"].at.T
    eye = eye_level(t)
    line = np.interp(
        y, [-0.13, -0.09, -0.055, -0.03, 0.0, 0.03, 0.07], [0.062, 0.055, 0.025, -0.01, -0.03, -0.07, -0.08]
    )
    height: np.ndarray = z - eye - line + lower
    return height


def add_hair(t: Tailor) -> None:
    """The hair; a hat presses it down."""
    style, hair = t.person.attributes["hair"], t.colours["hair"]
    if style == "bald":
        return
    hat = t.person.attributes["hat"] != "none"
    x, y, z = t.patches["head"].at.T
    ease = {"short": 0.014, "curly": 0.05, "long": 0.02, "ponytail": 0.012, "bun": 0.012}[style]
    line = hairline(t, 0.03 if style == "curly" else 0.0)
    grown = np.clip(line / 0.04, 0.25, 1)
    if style == "curly":
        grown = grown * (1 + 0.28 * np.sin(90 * x) * np.sin(90 * y + 1) * np.sin(90 * z + 2))
    shade = hair * (0.9 + 0.2 * np.sin(260 * np.hypot(x, y))[:, None] * 0.5)
    t.lay("head", (0.005 if hat else ease) * grown, -line, shade)
    head = t.body.bone("head")
    skull = t.at(line > 0.02, "head")
    back, top, eye = skull[:, 1].max(), skull[:, 2].max(), t.shape.heads[t.body.bone("eye.L")][2]
    if style == "long":
        patch = t.patches["hair"]
        hx, hy, hz = patch.at.T
        length = 0.56 - 0.2 * t.person.numbers["hair_length"]
        face = np.minimum.reduce([0.062 - np.abs(hx), -0.045 - hy, 0.84 - hz])
        above = hz - eye_level(t) - 0.03 if hat else -1.0
        over = CUTS[t.person.attributes["top"]].ease * np.clip((0.66 - hz) / 0.06, 0, 1) * np.where(hy > AXIS_Y, 1, -1)
        shift = np.column_stack([0 * over, over, 0 * over])
        t.lay("hair", 0.012, np.maximum.reduce([face, length - hz, above + 0 * hz]), hair * 0.95, shift=shift)
    elif style == "ponytail":
        side = 0.03 * t.person.numbers["side"]
        t.blob(head, np.array([0, back + 0.02, eye + 0.06]), (0.035, 0.04, 0.035), hair)
        t.blob(head, np.array([side, back + 0.075, eye - 0.07]), (0.05, 0.042, 0.17), hair * 0.95, tilt=0.2)
    elif style == "bun":
        t.blob(head, np.array([0, 0.5 * back, top + 0.035]), (0.065, 0.065, 0.055), hair)


def neck_opening(at: np.ndarray, radius: float) -> np.ndarray:
    """Positive [N] inside the neck opening of a top."""
    x, y, z = at.T
    inside: np.ndarray = np.minimum(radius - np.hypot(x, y - AXIS_Y * 1.4), z - 0.42)
    return inside


def skirt_hem(person: Person) -> float:
    """Where a skirt, or a dress, ends."""
    lap = CUTS[person.attributes["top"]].lap
    return lap if person.attributes["top"] == "dress" and lap else -0.28 - 0.14 * person.numbers["length"]


def top_pattern(person: Person, limb: str) -> dict[str, Any]:
    """Pattern name and scale of the top's trunk or sleeves."""
    pattern, period = person.attributes["pattern"], person.numbers["period"]
    scale = {"two-tone": person.numbers["split"], "logo": 0.36}.get(pattern, period)
    if limb == "sleeve" and pattern in ("two-tone", "logo"):
        return {"pattern": "plain"}
    if limb == "sleeve" and pattern == "vertical-striped":
        scale = ARM_RADIUS * np.pi / 2
    elif pattern in ("vertical-striped", "checked"):  # a whole number of stripes around the body
        scale = 2 * np.pi * TORSO_RADIUS / round(2 * np.pi * TORSO_RADIUS / period)
    return {"pattern": pattern, "scale": float(scale)}


def add_top(t: Tailor) -> None:
    """The garment of the upper body, with what belongs to it: collar, buttons, hood, open front, lap."""
    name = t.person.attributes["top"]
    cut, colour, second = CUTS[name], t.colours["top"], t.colours["second"]
    trunk = t.patches["trunk"]
    x, y, z = trunk.at.T
    opening = neck_opening(trunk.at, cut.neck)
    edges = [cut.hem - z, opening]
    if name == "tank top":
        edges.append(np.minimum(np.abs(x) - 0.115, z - 0.38))
    if cut.front:
        slit = cut.front + (0.35 if name == "jacket" else 0.12) * np.maximum(z - 0.3, 0)
        edges.append(np.where(y < -0.02, slit - np.abs(x), -1.0))
        t.lay("trunk", 0.012, np.maximum.reduce([0.04 - z, neck_opening(trunk.at, 0.075)]), t.colours["inner"])
    style = top_pattern(t.person, "trunk")
    loose = cut.ease + 0.016 * np.clip((0.14 - z) / 0.1, 0, 1)  # over the bottoms
    t.lay("trunk", loose, np.maximum.reduce(edges), colour, second=second, **style)
    for s in "" if name == "tank top" else "LR":
        arm = t.patches[f"sleeve.{s}"].arm
        t.lay(f"sleeve.{s}", cut.ease, arm - cut.sleeve, colour, second=second, **top_pattern(t.person, "sleeve"))
    if cut.lap is not None:
        skirt = t.patches["skirt"]
        lap = [cut.lap - skirt.at[:, 2]]
        if cut.front:
            lap.append(
                np.where(skirt.at[:, 1] < -0.02, cut.front - 0.1 * skirt.at[:, 2] - np.abs(skirt.at[:, 0]), -1.0)
            )
        flare = 0.5 if name == "dress" else 0.15
        t.lay("skirt", cut.ease + 0.022, np.maximum.reduce(lap), colour, second=second, flare=flare, **style)
    add_details(t, cut)


def add_details(t: Tailor, cut: Cut) -> None:
    """Shirt: light collar and button strip. Hoodie: hood and pocket. Coat and jacket: collar."""
    name, colour = t.person.attributes["top"], t.colours["top"]
    trunk = t.patches["trunk"]
    x, y, z = trunk.at.T
    ring = np.maximum(np.abs(np.hypot(x, y - AXIS_Y * 1.4) - cut.neck) - 0.03, 0.5 - z)
    dark = colour * 0.6 if colour.mean() > 0.2 else colour + 0.18
    if name == "shirt":
        strip = np.maximum.reduce([np.abs(x) - 0.014, np.where(y < -0.04, -1.0, 1.0), cut.hem - z])
        light = t.colours["second"]
        t.lay("trunk", cut.ease + 0.005, strip, light)
        t.lay("trunk", cut.ease + 0.012, ring, light)
    elif name == "hoodie":
        pocket = np.maximum.reduce([np.abs(x) - 0.11, np.abs(z - 0.1) - 0.055, np.where(y < -0.05, -1.0, 1.0)])
        t.lay("trunk", cut.ease + 0.01, pocket, dark)
        spot = t.at(np.hypot(x, y - 0.05) < 0.09)
        high = spot[spot[:, 2] > np.quantile(spot[:, 2], 0.8)].mean(0)
        bone = t.body.bone("spine01")
        t.blob(bone, high + np.array([0, 0.03, 0]), (0.125, 0.075, 0.085), colour * 0.9, tilt=0.5)
    elif name in ("coat", "jacket"):
        t.lay("trunk", cut.ease + 0.016, np.maximum(ring, np.where(y < -0.02, 0.05 - np.abs(x), -1)), dark)


def add_bottoms(t: Tailor) -> None:
    """Trousers, jeans with turned-up cuffs, shorts or a skirt."""
    name, colour = t.person.attributes["bottoms"], t.colours["bottoms"]
    trunk = t.patches["trunk"]
    z = trunk.at[:, 2]
    if name in LEGS:
        hem, ease = LEGS[name]
        wide = ease + 0.012 * np.clip((-0.2 - z) / 0.4, 0, 1) * (name != "jeans")
        t.lay("trunk", np.where(z > 0, 0.009, wide), np.maximum(hem - z, z - 0.14), colour)
        if name == "jeans":
            light = np.clip(colour * 0.6 + 0.4, 0, 1)
            t.lay("trunk", ease + 0.012, np.maximum(hem - z, z - hem - 0.07), light)
    elif name == "skirt":
        skirt = t.patches["skirt"].at[:, 2]
        t.lay("skirt", 0.014, skirt_hem(t.person) - skirt, colour, flare=0.75)
        t.lay("trunk", 0.009, np.maximum(-0.05 - z, z - 0.14), colour)
    else:
        t.lay("trunk", 0.006, np.maximum(-0.12 - z, z - 0.14), t.colours["top"])


def add_shoes(t: Tailor) -> None:
    """Shoes with soles."""
    shoe = t.colours["shoes"]
    z = t.patches["feet"].at[:, 2]
    sole = np.full(3, 0.9) if shoe.mean() < 0.7 else np.full(3, 0.35)
    t.lay("feet", 0.016, z + 0.735, shoe, second=sole, pattern="two-tone", scale=GROUND + 0.012)


def add_bag(t: Tailor) -> None:
    """A backpack on the back, a bag on a strap across the body, or a handbag in the hand."""
    kind, colour = t.person.attributes["bag"], t.colours["bag"]
    if kind == "none":
        return
    over = CUTS[t.person.attributes["top"]].ease + 0.012
    trunk, side = t.patches["trunk"].at, t.person.numbers["side"]
    x, y, z = trunk.T
    pocket = colour * 0.75 if colour.mean() > 0.2 else colour + 0.1
    if kind == "backpack":
        back = t.at((np.abs(x) < 0.06) & (np.abs(z - 0.36) < 0.1) & (y > 0))
        bone = t.body.bone("spine02")
        centre = np.array([0, back[:, 1].max() + over + 0.055, back[:, 2].mean()])
        t.blob(bone, centre, (0.165, 0.095, 0.215), colour, square=0.45)
        t.blob(bone, centre + np.array([0, 0.07, -0.08]), (0.12, 0.06, 0.1), pocket, square=0.4)
        strap = np.maximum.reduce([np.abs(np.abs(x) - 0.1) - 0.024, 0.22 - z])
        t.lay("trunk", over, strap, colour)
    elif kind == "shoulder bag":
        start, end = np.array([-0.09 * side, 0.57]), np.array([0.17 * side, 0.03])
        along = (end - start) / np.linalg.norm(end - start)
        off = np.abs((x - start[0]) * along[1] - (z - start[1]) * along[0])
        t.lay("trunk", over, np.maximum.reduce([off - 0.024, 0.0 - z]), colour)
        hip = t.at((x * side > 0.1) & (np.abs(z - 0.02) < 0.06))
        reach = np.abs(hip[:, 0]).max() + over + 0.045
        centre = np.array([side * reach, hip[:, 1].mean() + 0.02, hip[:, 2].mean() - 0.03])
        t.blob(t.body.bone("root"), centre, (0.065, 0.16, 0.125), colour, square=0.4)
        t.blob(t.body.bone("root"), centre + np.array([0, 0, 0.05]), (0.07, 0.15, 0.07), pocket, square=0.4)
    else:
        hand = t.shape.heads[t.body.bone("finger3-1.L" if side > 0 else "finger3-1.R")]
        bone = len(t.body.bones)  # the virtual bone: follows the hand, always upright
        t.blob(bone, hand + np.array([0, 0, -0.09]), (0.016, 0.075, 0.09), pocket, square=0.7)
        t.blob(bone, hand + np.array([0, 0, -0.23]), (0.06, 0.165, 0.115), colour, square=0.45)


def add_hat(t: Tailor) -> None:
    """A cap with a brim or a beanie with a fold."""
    kind, colour = t.person.attributes["hat"], t.colours["hat"]
    if kind == "none":
        return
    _, y, z = t.patches["head"].at.T
    eye = eye_level(t)
    dark = colour * 0.7 if colour.mean() > 0.2 else colour + 0.1
    if kind == "cap":
        line = z - eye - np.interp(y, [-0.13, 0.07], [0.05, 0.02])
        t.lay("head", 0.022, -line, colour)
        front = t.at((np.abs(line) < 0.02) & (y < -0.08), "head")
        centre = np.array([0, front[:, 1].min() - 0.045, front[:, 2].mean() + 0.005])
        t.blob(t.body.bone("head"), centre, (0.085, 0.085, 0.012), dark, tilt=0.15)
    else:
        line = z - eye - np.interp(y, [-0.13, 0.07], [0.035, -0.02])
        t.lay("head", 0.024 + 0.25 * np.clip(line - 0.05, 0, 1), -line, colour)
        t.lay("head", 0.034, np.maximum(-line, line - 0.035), dark)
