"""Any folder of person crops: the sub-folders are cameras.

Layouts
    PATH/<camera>/*.jpg with `--group NAME=CAMERA,CAMERA` twice; files may lie deeper below their camera.
    PATH/<group>/<camera>/*.jpg without an option; recognised by its depth.

Every image is of split `train` and of an unknown person (-1).
"""

from __future__ import annotations

from pathlib import Path

from itkm.data.importers.source import (
    Format,
    Groups,
    Listing,
    Request,
    SourceImage,
    group_of_cameras,
    image_files,
    source_image,
)
from itkm.errors import InputError


def list_folder(request: Request) -> Listing:
    """Lists the images of a folder of crops.

    Raises:
        InputError: no image, a layout that is neither of the two, or groups that do not fit the cameras.
    """
    source, groups = request.source, request.groups
    files = list(image_files(source, root=source))
    if not files:
        raise InputError(f"{source}: no image. Expected {source}/CAMERA/IMAGE.jpg or {source}/GROUP/CAMERA/IMAGE.jpg.")
    parts = {file: file.relative_to(source).parts for file in files}
    views = _views_by_option(source, parts, groups) if groups else _views_by_depth(source, parts)
    images: list[SourceImage] = []
    for file in files:
        group, camera = views[file]
        images.append(source_image(file, root=source, scenario=request.scenario, group=group, camera=camera))
    return Listing(images)


def _views_by_option(source: Path, parts: dict[Path, tuple[str, ...]], groups: Groups) -> dict[Path, tuple[str, str]]:
    """Group and camera of each file where the user gave the groups: the first folder is the camera."""
    loose = [file for file, names in parts.items() if len(names) == 1]
    if loose:
        raise InputError(f"{loose[0]}: lies in no camera's folder. Expected {source}/CAMERA/{loose[0].name}; move it.")
    group_of = group_of_cameras(groups, sorted({names[0] for names in parts.values()}), source=source)
    return {file: (group_of[names[0]], names[0]) for file, names in parts.items()}


def _views_by_depth(source: Path, parts: dict[Path, tuple[str, ...]]) -> dict[Path, tuple[str, str]]:
    """Group and camera of each file where the folders alone must say them."""
    depths: dict[int, Path] = {}
    for file, names in parts.items():
        depths.setdefault(len(names), file)
    if set(depths) == {2}:
        # This raises: without groups it names the cameras found and the options to give.
        group_of_cameras({}, sorted({names[0] for names in parts.values()}), source=source)
    if set(depths) != {3}:
        examples = ", ".join(str(file) for _, file in sorted(depths.items()))
        raise InputError(
            f"{source}: the images lie at the depths of {examples}, expected all as {source}/GROUP/CAMERA/IMAGE.jpg. "
            "Move them, or give --group NAME=CAMERA,CAMERA twice, which makes the first folder the camera."
        )
    return {file: (names[0], names[1]) for file, names in parts.items()}


FORMAT = Format(
    name="folder",
    description="any person crops, cameras as sub-folders",
    layout="PATH/CAMERA/*.jpg with --group NAME=CAMERA,CAMERA twice, or PATH/GROUP/CAMERA/*.jpg",
    licence="your own",
    read=list_folder,
)
