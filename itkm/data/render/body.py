"""The body: MakeHuman's base mesh with its helper geometry, shaped by phenotypes and posed by bone matrices.

The mesh, its blend shapes and its rig come from `anny` (code Apache-2.0, MakeHuman data CC0). Besides the skin,
MakeHuman's base mesh carries *helper* geometry that follows every body shape: tights (clothes are cut from them), a
skirt and a head of hair.
Shapes here: V vertices, J bones, S blend shapes.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from itkm.errors import InputError

log = logging.getLogger(__name__)

WEIGHTS_PER_VERTEX = 4
HELPERS = ("helper-tights", "helper-skirt", "helper-hair", "helper-l-eye", "helper-r-eye")


@dataclass(frozen=True)
class Shape:
    """One person's rest pose: `vertices` and `normals` [V,3] in metres (z up, facing -y), bone `heads` [J,3]."""

    vertices: np.ndarray
    normals: np.ndarray
    heads: np.ndarray


@dataclass(frozen=True, eq=False)
class Body:
    """Everything about the body that is the same for all persons.

    `faces[group]` is int [F,3]; `bone_index` and `bone_weight` are [V,4]; `parents` has -1 for the root.
    """

    bones: list[str]
    parents: list[int]
    faces: dict[str, np.ndarray]
    template: np.ndarray
    template_heads: np.ndarray
    blendshapes: np.ndarray
    head_blendshapes: np.ndarray
    bone_index: np.ndarray
    bone_weight: np.ndarray
    model: Any

    def bone(self, name: str) -> int:
        """Index of a bone."""
        return self.bones.index(name)

    @functools.cached_property
    def neutral(self) -> Shape:
        """The average adult, on whom regions, seams and pattern coordinates are defined."""
        return self.shape({"gender": 0.5, "age": 0.6, "muscle": 0.5, "weight": 0.5, "height": 0.5, "proportions": 0.5})

    @functools.cached_property
    def _normal_operator(self) -> tuple[Any, np.ndarray]:
        """Sparse [V,F] matrix that sums the normals of the faces around each vertex; and all faces [F,3]."""
        from scipy.sparse import csr_matrix

        faces = np.concatenate(list(self.faces.values()))
        columns = np.repeat(np.arange(len(faces)), 3)
        ones = np.ones(faces.size, np.float32)
        return csr_matrix((ones, (faces.ravel(), columns)), shape=(len(self.template), len(faces))), faces

    def shape(self, phenotype: dict[str, float]) -> Shape:
        """Rest shape of a person with anny's phenotypes (gender 0 = male .. 1 = female, the others 0 .. 1)."""
        import torch
        from anny.models.phenotype import phenotype_blendshape_weights

        m = self.model
        values = torch.tensor([[phenotype[label] for label in m.phenotype_labels]], dtype=torch.float32)
        weights = phenotype_blendshape_weights(
            values, m.phenotype_labels, m.anchors, m.stacked_phenotype_blend_shapes_mask, extrapolate=False
        )
        c = (weights @ m.phenotype_blendshape_projection).numpy().reshape(-1)
        vertices = self.template + (c @ self.blendshapes).reshape(-1, 3)
        heads = self.template_heads + (c @ self.head_blendshapes).reshape(-1, 3)
        return Shape(vertices, self.normals(vertices), heads)

    def normals(self, vertices: np.ndarray) -> np.ndarray:
        """Unit vertex normals [V,3]."""
        operator, faces = self._normal_operator
        a, b, c = vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]
        summed = operator @ np.cross(b - a, c - a)
        unit: np.ndarray = summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12)
        return unit

    def pose(self, heads: np.ndarray, rotations: dict[str, np.ndarray]) -> np.ndarray:
        """Bone matrices [J,4,4] that move rest points to the pose.

        A rotation [3,3] turns a bone around its own head, about the axes of the rest pose (x right to left, y to the
        back, z up).
        """
        matrices = np.empty((len(self.bones), 4, 4))
        for j, (name, parent) in enumerate(zip(self.bones, self.parents, strict=True)):
            above = np.eye(4) if parent < 0 else matrices[parent]
            turn = rotations.get(name)
            if turn is None:
                matrices[j] = above
                continue
            own = np.eye(4)
            own[:3, :3] = turn
            own[:3, 3] = heads[j] - turn @ heads[j]
            matrices[j] = above @ own
        return matrices


def triangles(polygons: list[list[int]]) -> np.ndarray:
    """Fans of triangles int [F,3] for polygons with three or four corners."""
    out = [(p[0], p[i], p[i + 1]) for p in polygons for i in range(1, len(p) - 1)]
    return np.array(out, np.int32)


def helper_faces(path: Path) -> dict[str, np.ndarray]:
    """Triangles of the helper groups in MakeHuman's `base.obj`, indexed like the file's own vertices."""
    polygons: dict[str, list[list[int]]] = {}
    group = ""
    for line in path.read_text().splitlines():
        if line.startswith("g "):
            group = line[2:].strip()
        elif line.startswith("f ") and (group in HELPERS or group == "body"):
            polygons.setdefault(group, []).append([int(c.split("/")[0]) - 1 for c in line.split()[1:]])
    return {g: triangles(p) for g, p in polygons.items()}


def strongest(index: np.ndarray, weight: np.ndarray, k: int = WEIGHTS_PER_VERTEX) -> tuple[np.ndarray, np.ndarray]:
    """The k strongest bones of every vertex, weights summing to one: int32 [V,k], float32 [V,k]."""
    order = np.argsort(-weight, axis=1, kind="stable")[:, :k]
    top = np.take_along_axis(weight, order, 1)
    return np.take_along_axis(index, order, 1).astype(np.int32), (top / top.sum(1, keepdims=True)).astype(np.float32)


@functools.cache
def load_body() -> Body:
    """The body model. The first call on a machine takes about 90 s (anny fills its cache), later ones about 2 s.

    Raises InputError if the extra `render` is not installed.
    """
    try:
        import torch
        import warp

        warp.config.log_level = warp.LOG_ERROR  # it announces itself on standard output
        from anny import Anny
        from anny.models.model_data import TopologyConfig
        from anny.paths import get_anny_root_dir
    except ImportError as error:
        raise InputError(
            "Rendering needs the package anny: install the extra `render` (pip install 'itkm[render]')."
        ) from error
    topology = TopologyConfig(base_mesh="makehuman", remove_unattached_vertices=False)  # keeps the helpers
    model = Anny(topology=topology).to(dtype=torch.float32)
    faces = helper_faces(Path(get_anny_root_dir()) / "data/mpfb2/3dobjs/base.obj")
    index, weight = strongest(model.vertex_bone_indices.numpy(), model.vertex_bone_weights.numpy())
    shapes = len(model.blendshapes)
    return Body(
        bones=list(model.bone_labels),
        parents=[int(p) for p in model.bone_parents],
        faces=faces,
        template=model.template_vertices.numpy(),
        template_heads=model.template_bone_heads.numpy(),
        blendshapes=model.blendshapes.numpy().reshape(shapes, -1),
        head_blendshapes=model.bone_heads_blendshapes.numpy().reshape(shapes, -1),
        bone_index=index,
        bone_weight=weight,
        model=model,
    )
