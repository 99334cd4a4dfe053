"""Draws triangles with OpenGL (moderngl, EGL, off-screen): shaders do the skinning, the light and the patterns."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from itkm.errors import InputError

SUPERSAMPLING = 2
MAX_BONES = 112

# One vertex: rest position, normal, four bones with weights, two colours, pattern coordinates and numbers
#   code = (cut: the fragment is dropped where it is positive; pattern: one of PATTERN_CODES; its period or level;
#   radius that turns the angle around the body into metres).
VERTEX = np.dtype(
    [
        ("position", "f4", 3),
        ("normal", "f4", 3),
        ("bones", "u1", 4),
        ("weights", "f4", 4),
        ("colour", "f4", 3),
        ("second", "f4", 3),
        ("cloth", "f4", 3),
        ("code", "f4", 4),
    ]
)
PATTERN_CODES = {"plain": 0, "striped": 1, "vertical-striped": 2, "checked": 3, "dotted": 4, "two-tone": 5, "logo": 6}

VERTEX_SHADER = """
#version 330
uniform mat4 bone[BONES];
uniform mat4 view;
in vec3 position, normal, colour, second, cloth;
in vec4 code;
in uvec4 bones;
in vec4 weights;
out vec3 n, a, b, g, w;
flat out vec3 k;
out float cut;
void main() {
    mat4 m = weights.x * bone[bones.x] + weights.y * bone[bones.y];
    m += weights.z * bone[bones.z] + weights.w * bone[bones.w];
    vec4 p = m * vec4(position, 1);
    gl_Position = view * p;
    w = p.xyz;
    n = mat3(m) * normal;
    a = colour; b = second; g = cloth; k = code.yzw; cut = code.x;
}
""".replace("BONES", str(MAX_BONES))


FRAGMENT_SHADER = """
#version 330
uniform vec3 light;
uniform vec3 eye;
uniform float ambient;
in vec3 n, a, b, g, w;
flat in vec3 k;
in float cut;
out vec4 f;
float share(float x, float period) { return step(fract(x / period), .5); }
float mask() {
    int kind = int(k.x + .5);
    float across = atan(g.x, -g.y) * k.z, s = k.y;
    if (kind == 1) return share(g.z, s);
    if (kind == 2) return share(across + s * .25, s);
    if (kind == 3) return .5 * (share(g.z, s) + share(across + s * .25, s));
    if (kind == 4) {
        float row = floor(g.z / s);
        vec2 q = vec2(fract(across / s + .5 * mod(row, 2.)), fract(g.z / s)) - .5;
        return step(length(q), .33);
    }
    if (kind == 5) return step(g.z, s);
    if (kind == 6) return step(length(vec2(min(abs(across), 3.1416 * k.z - abs(across)), (g.z - s) * 1.1)), .09);
    return 0.;
}
void main() {
    if (cut > 0.) discard;
    vec3 normal = normalize(n);
    if (dot(normal, eye - w) < 0.) normal = -normal;
    float sun = max(dot(normal, light), 0.);
    float sky = .5 + .5 * normal.z;
    float facing = max(dot(normal, normalize(eye - w)), 0.);
    float lit = ambient * (.55 + .45 * sky) + (1.12 - ambient) * sun;
    f = vec4(mix(a, b, mask()) * lit * (.72 + .28 * facing), 1.);
}
"""


@functools.cache
def programme() -> tuple[Any, Any]:
    """The OpenGL context of this process, on EGL and off-screen, and the programme in it.

    There is only one, because with several the calls of one would reach another.
    Raises InputError if moderngl or EGL is missing.
    """
    try:
        import moderngl
    except ImportError as error:
        raise InputError(
            "Rendering needs the package moderngl: install the extra `render` (pip install 'itkm[render]')."
        ) from error
    try:
        context = moderngl.create_standalone_context(backend="egl")  # type: ignore[arg-type]
    except Exception as error:  # moderngl raises a bare Exception where libEGL is absent
        raise InputError(
            f"Rendering needs EGL ({error}): install the Debian packages libegl1 libgl1-mesa-dri; no GPU is needed."
        ) from error
    context.enable(moderngl.DEPTH_TEST)
    return context, context.program(vertex_shader=VERTEX_SHADER, fragment_shader=FRAGMENT_SHADER)


class Painter:
    """Paints images of one size. Not to be shared between processes or threads."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.context, self.program = programme()
        size = (width * SUPERSAMPLING, height * SUPERSAMPLING)
        self.frame = self.context.framebuffer([self.context.renderbuffer(size)], self.context.depth_renderbuffer(size))

    def upload(self, vertices: np.ndarray, faces: np.ndarray) -> Drawable:
        """Puts VERTEX records [V] and triangles int32 [F,3] on the device; `release` the result after use."""
        layout = "3f 3f 4u1 4f 3f 3f 3f 4f"
        data = self.context.buffer(vertices.tobytes())
        index = self.context.buffer(np.ascontiguousarray(faces, np.int32).tobytes())
        array = self.context.vertex_array(self.program, [(data, layout, *(VERTEX.names or ()))], index)
        return Drawable(array, data, index)

    def paint(
        self,
        drawable: Drawable,
        bones: np.ndarray,
        view: np.ndarray,
        eye: np.ndarray,
        light: np.ndarray,
        ambient: float,
    ) -> np.ndarray:
        """Premultiplied float32 RGBA [H,W,4] in 0..1; `bones` is [J,4,4] and `view` [4,4], acting on column vectors."""
        padded = np.zeros((MAX_BONES, 4, 4), np.float32)
        padded[: len(bones)] = bones.transpose(0, 2, 1)
        self.program["bone"].write(padded.tobytes())
        self.program["view"].write(np.ascontiguousarray(view.T, np.float32).tobytes())
        self.program["eye"].value = tuple(float(x) for x in eye)
        self.program["light"].value = tuple(float(x) for x in light)
        self.program["ambient"].value = float(ambient)
        self.frame.use()
        self.frame.clear(0, 0, 0, 0)
        drawable.array.render()
        raw = np.frombuffer(self.frame.read(components=4), np.uint8).reshape(self.height * SUPERSAMPLING, -1, 4)
        steps = range(SUPERSAMPLING)
        samples = [raw[i::SUPERSAMPLING, j::SUPERSAMPLING].astype(np.float32) for i in steps for j in steps]
        summed: np.ndarray = functools.reduce(np.add, samples)
        return summed[::-1] / (255 * SUPERSAMPLING**2)


class Drawable:
    """A mesh on the device."""

    def __init__(self, array: Any, *buffers: Any) -> None:
        self.array, self.buffers = array, buffers

    def release(self) -> None:
        """Frees the device memory."""
        for thing in (self.array, *self.buffers):
            thing.release()
