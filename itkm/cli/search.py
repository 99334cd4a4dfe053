"""`itkm search`: the gallery images nearest to an image or to words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from itkm.cli.options import FILE, FOLDER
from itkm.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from itkm.retrieval.search import Hit


@click.command()
@click.argument("image", required=False, type=FILE)
@click.option("--text", help="Words that describe a person, in place of IMAGE.")
@click.option(
    "--model", "folder", required=True, type=FOLDER, help="As for `itkm embed`: the one that embedded the gallery."
)
@click.option("--gallery", "file", required=True, type=FILE, help="A .npz that `itkm embed` wrote.")
@click.option("--top", default=10, show_default=True, type=click.IntRange(1), help="Length of the ranked list.")
@click.option("--html", type=FILE, help="Write the list with its pictures as one offline page.")
@click.option("--data", type=FOLDER, help="Where the gallery's images lie, for --html.  [default: as when embedded]")
@click.option("--scenario", help="See IMAGE as of this scenario.  [default: the gallery's; the model's first]")
@click.option("--group", help="See IMAGE as of this group.  [default: the gallery's; the scenario's first]")
def search(
    image: Path | None,
    text: str | None,
    folder: Path,
    file: Path,
    top: int,
    html: Path | None,
    data: Path | None,
    scenario: str | None,
    group: str | None,
) -> None:
    """Rank the images of a gallery by their similarity to IMAGE or to --text.

    The gallery is any file of `itkm embed` by the same model. A model sees each scenario and group in its own way: say
    with --group whether IMAGE is, for instance, infrared where the gallery is visible.

    \b
    Examples:
      itkm search --model artifacts/model --gallery gallery.npz person.jpg --group infrared
      itkm search --model artifacts/model --gallery gallery.npz --text "a person with a red backpack" --top 20 \\
        --html found.html
    """
    if (image is None) == (text is None):
        raise InputError("give either an IMAGE or --text, one of the two: what to search for.")
    if text is not None and (scenario or group):
        raise InputError("--scenario and --group say how an IMAGE is seen. Leave them out with --text.")
    from itkm.files import write_bytes
    from itkm.retrieval.gallery import Gallery
    from itkm.retrieval.model import open_model
    from itkm.retrieval.page import build_page, find_pictures, picture_of
    from itkm.retrieval.search import choose_view, printable, search_by_image, search_by_text

    model, gallery = open_model(folder), Gallery.load(file)
    if image is not None:
        view = choose_view(gallery, model, scenario=scenario, group=group)
        click.echo(f"{image} as scenario {view[0]}, group {view[1]}", err=True)
        hits = search_by_image(image, gallery, model, top=top, scenario=view[0], group=view[1])
    else:
        assert text is not None
        hits = search_by_text(text, gallery, model, top=top)
    click.echo(_table(hits))
    if html is not None:
        pictures = find_pictures(hits, gallery.images, data or gallery.data)
        asked = "" if image is None else picture_of(image)
        title = printable(text or str(image))
        page = build_page(hits, pictures, title=title, asked=asked, count=len(gallery.images))
        write_bytes(html, page.encode())
        click.echo(f"{html}: opens in any browser without a network")


def _table(hits: Sequence[Hit]) -> str:
    """The ranked list in columns; `-` where something is not known."""
    width = max(5, *(len(hit.group) for hit in hits))
    lines = [f"rank  similarity    person  camera  {'group':{width}}  path"]
    for hit in hits:
        person = "-" if hit.person is None else hit.person
        place = f"{hit.rank:4}  {hit.similarity:10.3f}  {person:>8}  {hit.camera:6}"
        lines.append(f"{place}  {hit.group or '-':{width}}  {hit.path or '-'}")
    return "\n".join(lines)
