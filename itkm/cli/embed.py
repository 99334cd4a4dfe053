"""`itkm embed`: features of any images or captions, by a trained model."""

from __future__ import annotations

from pathlib import Path

import click

from itkm.cli.options import FILE, FOLDER
from itkm.errors import InputError


@click.command()
@click.argument("images", metavar="IMAGES...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--model", "folder", required=True, type=FOLDER, help="artifacts/model, or models:/itkm@champion.")
@click.option("--out", required=True, type=FILE, help="The .npz of features that is written.")
@click.option("--scenario", help="See the images as of this scenario.  [default: the manifest's; the model's first]")
@click.option("--group", help="See the images as of this group.  [default: the manifest's; the scenario's first]")
@click.option("--split", "splits", multiple=True, help="Of an imported scenario only this split; may be repeated.")
@click.option("--flip", is_flag=True, help="Features of the mirrored images too, which `itkm score --flip` averages.")
@click.option("--projected", is_flag=True, help="Features in the text space, which can be scored against captions.")
@click.option("--captions", is_flag=True, help="Features of the captions in place of the images.")
def embed(
    images: tuple[Path, ...],
    folder: Path,
    out: Path,
    scenario: str | None,
    group: str | None,
    splits: tuple[str, ...],
    flip: bool,
    projected: bool,
    captions: bool,
) -> None:
    """Write the features of IMAGES: image files, folders of them, or one folder of `itkm data import`.

    Of an imported scenario, persons, cameras, clothes and groups are written too, so that `itkm score` can judge the
    features; of other images nothing is known (person -1, camera 0). A model sees each scenario and group in its own
    way: say with --scenario and --group as what it shall see plain images. `itkm search` finds images in the file by
    an image or by words; `itkm label` and `itkm score` read it too.

    \b
    Examples:
      itkm embed photos --model artifacts/model --scenario vi --group visible --out photos.npz
      itkm embed data/vi --model models:/itkm@champion --split gallery --out gallery.npz

    \b
    Captions against images, for a data set that has captions:
      itkm embed data/pedes --model artifacts/model --scenario vi --split gallery --projected --out images.npz
      itkm embed data/pedes --model artifacts/model --split gallery --captions --out captions.npz
      itkm score --query captions.npz --gallery images.npz --protocol text
    """
    from itkm.retrieval.embed import embed_captions, embed_images
    from itkm.retrieval.images import is_scenario, list_files, list_scenario
    from itkm.retrieval.model import open_model

    imported = [path for path in images if is_scenario(path)]
    if imported and len(images) > 1:
        raise InputError(f"{imported[0]}: an imported scenario stands alone. Embed each into a file of its own.")
    if not imported and (splits or captions):
        raise InputError(f"{images[0]}: --split and --captions need a folder that `itkm data import` wrote.")
    if captions and (flip or projected or scenario or group):
        raise InputError("--captions: words have no --flip, --projected, --scenario or --group. Leave these out.")
    model = open_model(folder)
    if captions:
        gallery = embed_captions(images[0], splits, model)
    elif imported:
        options = {"scenario": scenario, "group": group}
        gallery = embed_images(list_scenario(images[0], splits), model, **options, projected=projected, flip=flip)
    else:
        view = model.choose(scenario, group)
        click.echo(f"as scenario {view[0]}, group {view[1]}", err=True)
        gallery = embed_images(list_files(images, *view), model, projected=projected, flip=flip)
    gallery.save(out)
    count, width = gallery.images.features.shape
    click.echo(f"{out}: {count} {'captions' if captions else 'images'}, features of {width} values")
