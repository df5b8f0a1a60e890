"""The record of a run as what it takes to make the run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from proxmtl.cli.run import environment
from proxmtl.io import InputError, read_labels, read_model_kind
from proxmtl.io.names import ARRAYS_FILE, CONFIG_FILE
from proxmtl.io.seal import entry_of, read_manifest, read_sealed
from proxmtl.io.shards import open_shards
from proxmtl.sources import Source

__all__ = ["check_inputs", "differing_environment", "read_record", "same_model"]

COMMANDS = ("fit", "train", "tune")
MATTERS = ("proxmtl", "python", "torch", "numpy", "threads", "machine")
"""Parts of the environment on which the last digits may depend."""


def read_record(run: Path) -> dict[str, Any]:
    """Read the record of a run.

    Raises
    ------
    InputError
        If the folder is no run, or its record has no options.
    """
    read_model_kind(run)
    manifest = read_manifest(run)
    if CONFIG_FILE not in manifest.entries:
        raise InputError(run, f"has no {CONFIG_FILE}, which says how it was made; run its command.")
    record: dict[str, Any] = json.loads(manifest.read(CONFIG_FILE))
    if record.get("command") not in COMMANDS or "options" not in record:
        raise InputError(
            run / CONFIG_FILE,
            "does not say by which options the run was made; run its command again "
            f"({record.get('environment', {}).get('command', 'not recorded')}).",
        )
    return record


def check_inputs(run: Path, record: dict[str, Any]) -> None:
    """Raise `InputError` if an input is missing, or not as the run found it."""
    made = Path(record.get("images", {}).get("features", ""))
    for source in record.get("inputs", ()):
        path = Path(source["path"])
        if made.name and path in (made, made.with_suffix(".ids.csv")):
            continue  # made by the run itself, of the images
        if not path.exists():
            raise InputError(
                path,
                f"is not there, and {run} was made of it; start in the folder where the run was "
                "made, or put it back.",
            )
        found = _source_of(path, source["sha256"], record["options"])
        if (found.bytes, found.sha256) != (source["bytes"], source["sha256"]):
            which = ""
            if path.is_dir() and made.name:
                which = _changed_images(path, made, source["sha256"])
            raise InputError(
                path, f"is not what {run} was made of: its contents differ{which}; put those back."
            )


def _changed_images(path: Path, features: Path, sha256: str) -> str:
    """Say which images may differ from those that features were made of; blank: not known."""
    from proxmtl.backbones.data import find_images  # noqa: PLC0415 - heavy
    from proxmtl.cli.kept_features import (  # noqa: PLC0415 - heavy
        IMAGES,
        image_differences,
        record_of,
        signatures,
    )
    from proxmtl.cli.skipped_images import present_images  # noqa: PLC0415 - heavy

    try:
        record = read_sealed(record_of(features), "")
        if record["source"][-1] != sha256:
            return ""  # made of other images since
        present, _ = present_images(path, find_images(path, list(record[IMAGES]), missing_ok=True))
    except (InputError, KeyError, OSError):  # features or images are gone
        return ""
    found = image_differences(record[IMAGES], signatures(present))
    return f" ({'; '.join(found)})" if found else ""


def _source_of(path: Path, recorded: str, options: dict[str, Any]) -> Source:
    """Size and hash of an input, made as the one that was recorded."""
    if recorded.startswith("sampled-"):
        return open_shards(path, key=options.get("key")).fingerprint()
    if not path.is_dir():
        return Source(str(path), *entry_of(path))
    from proxmtl.backbones.data import find_images  # noqa: PLC0415 - heavy
    from proxmtl.cli.image_features import source_of  # noqa: PLC0415 - heavy

    names: list[str] = []
    for labels in (options[name] for name in ("labels", "test") if name in options):
        id_column, task_column = options.get("id_column"), options.get("task_column")
        names += read_labels(labels, id_column=id_column, task_column=task_column).ids or ()
    return source_of(path, find_images(path, list(dict.fromkeys(names)), missing_ok=True))


def differing_environment(record: dict[str, Any]) -> str:
    """Say in which versions and numbers a run was made that differ now; blank: in none."""
    then, now = record.get("environment", {}), environment()
    return ", ".join(
        f"{name} was {then[name]} and is {now[name]}"
        for name in MATTERS
        if name in then and then[name] != now[name]
    )


def same_model(first: Path, second: Path) -> str:
    """Say whether two runs have the same model, bit for bit, or by how much they differ."""
    import numpy as np  # noqa: PLC0415 - where they differ
    from safetensors.numpy import load  # noqa: PLC0415 - as above

    manifests = [read_manifest(run) for run in (first, second)]
    if manifests[0].entries[ARRAYS_FILE] == manifests[1].entries[ARRAYS_FILE]:
        return f"the model of {second} has the same bits as that of {first}"
    one, other = (load(manifest.read(ARRAYS_FILE)) for manifest in manifests)
    worst, choices = 0.0, []
    for name in {**one, **other}:
        if name not in one or name not in other or one[name].shape != other[name].shape:
            return f"the models of {first} and {second} differ: {name} has another shape"
        a, b = one[name].astype(float), other[name].astype(float)
        # what is not known in both (of an attribute that could not be scored) is no difference
        apart = ~((a == b) | (np.isnan(a) & np.isnan(b)))
        if one[name].dtype == bool:
            if apart.any():
                choices.append(f"{apart.sum()} of {a.size} in {name.rstrip('_')}")
            continue
        scale = np.abs(a[np.isfinite(a)]).max(initial=0.0) or 1.0
        distance = np.nan_to_num(np.abs(a[apart] - b[apart]), nan=np.inf)
        worst = max(worst, float(distance.max(initial=0.0)) / float(scale))
    chosen = f", and in what they chose: {', '.join(choices)}" if choices else ""
    return (
        f"the models of {first} and {second} differ, by at most {worst:.1g} of the largest "
        f"number of an array{chosen}"
    )
