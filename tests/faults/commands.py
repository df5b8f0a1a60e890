"""The commands that are disturbed, what each reads and writes, and the states that they start from.

All outputs lie in ``out``, so that it can vanish; what earlier commands made lies in ``made``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["COMMANDS", "Case"]

FIT = "fit x.npy -l y.csv -g g.toml --max-passes 20 -o"
TUNE = "tune x.npy -l y.csv -g g.toml --points 2 --max-passes 12 --trials out/trials -o"
FIT_IMAGES = (
    "fit photos -l photos.csv --network net.npz --features out/f.npy --batch-size 4 --no-report"
    " --single-task 0.1"
)
TRAIN = (
    "train photos -l photos.csv --side 8 --max-passes 8 --batch-size 8 --learning-rate 0.0001"
    " --epochs {} -o"
)
EXTRACT = "extract photos --network net.npz --batch-size 4 -o"
TABLES = "x.npy", "x.ids.csv", "y.csv", "g.toml"
PHOTOS = "photos.csv", "photos/03.png", "photos/07.jpg", "photos/20.png"
MODEL = "made/run/model.json", "made/run/model.safetensors", "made/run/manifest.json"
CNN = "made/cnn/model.json", "made/cnn/model.safetensors", "made/cnn/manifest.json"


@dataclass(frozen=True)
class Case:
    """A command.

    Attributes
    ----------
    line
        Its arguments.
    reads
        Files of the user that it reads.
    own
        Files that the program wrote before, and that it reads back; ``*`` as in a shell.
    before
        Commands that make the state it starts from.
    repairs
        Files that are damaged while these run, and whole again when the command starts.
    replaces
        What it replaces; after a fault that is whole, the old one or the new one.
    says
        Whether its result is also what it prints.
    slow
        Whether it takes many seconds: disturbed in deep runs only.
    """

    line: str
    reads: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    repairs: tuple[str, ...] = ()
    replaces: str | None = None
    says: bool = False
    slow: bool = False
    arguments: list[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "arguments", self.line.split())


COMMANDS: dict[str, Case] = {
    "fit": Case(f"{FIT} out/run", TABLES),
    "fit-again": Case(
        f"{FIT} out/run --force", TABLES, before=(f"{FIT} out/run --seed 1",), replaces="out/run"
    ),
    "fit-kept": Case(f"{FIT} out/run --checkpoint 0", TABLES),
    "fit-kept-auto": Case(
        "fit x.npy -l y.csv --auto --latent --max-passes 20 --checkpoint 0 -o out/run", TABLES[:3]
    ),
    "fit-kept-again": Case(
        f"{FIT} out/run --force --checkpoint 0",
        TABLES,
        before=(f"{FIT} out/run --seed 1",),
        replaces="out/run",
    ),
    "fit-npz": Case("fit x.npz -l y.csv -g g.json --max-passes 10 -o out/run", ("x.npz", "g.json")),
    "fit-packed-npz": Case("fit small.npz -l y.csv --single-task 0.1 -o out/run", ("small.npz",)),
    "fit-safetensors": Case(
        "fit x.safetensors -l y.csv -g g.csv --max-passes 10 -o out/run", ("x.safetensors", "g.csv")
    ),
    "fit-parquet": Case(
        "fit x.parquet -l y.csv -g g.toml --max-passes 10 -o out/run", ("x.parquet", "y.csv")
    ),
    "fit-extracted": Case(
        "fit made/f.npy -l photos.csv --max-passes 20 -o out/run",
        ("photos.csv",),
        own=("made/f*",),
        before=("extract photos --network net.npz -o made/f.npy",),
    ),
    "fit-images": Case(f"{FIT_IMAGES} -o out/run", ("net.npz", *PHOTOS)),
    "fit-images-again": Case(
        f"{FIT_IMAGES} -o out/run",
        ("net.npz",),
        own=("out/f.*",),
        before=(f"{FIT_IMAGES} -o made/run",),
    ),
    "tune": Case(f"{TUNE} out/run", TABLES),
    "tune-on": Case(
        f"{TUNE} out/run --force",
        TABLES,
        own=("out/trials/*",),
        before=(f"{TUNE} out/run",),
        replaces="out/run",
    ),
    "tune-convex": Case(
        "tune x.npy -l y.csv --model lasso --max-passes 12 -o out/run", ("x.npy", "y.csv")
    ),
    "extract": Case(f"{EXTRACT} out/f.npy", ("net.npz", *PHOTOS[1:])),
    "extract-on": Case(
        f"{EXTRACT} out/f.npy",
        ("net.npz",),
        own=("out/f.npy.partial/*",),
        before=(f"{EXTRACT} out/f.npy",),
        repairs=("photos/20.png",),
    ),
    "extract-again": Case(
        f"{EXTRACT} out/f.npy --force",
        before=("extract photos.tar --network net.npz -o out/f.npy",),
    ),
    "extract-tar": Case("extract photos.tar --network net.npz -o out/f.npy", ("photos.tar",)),
    "extract-trained": Case(
        "extract photos --network made/cnn -o out/f.npy",
        PHOTOS[1:],
        own=CNN,
        before=(f"{TRAIN.format(1)} made/cnn",),
    ),
    "train": Case(f"{TRAIN.format(2)} out/cnn", PHOTOS),
    "train-on": Case(
        f"{TRAIN.format(3)} out/cnn",
        own=("out/cnn/*.*", "out/cnn/.train/*.*"),
        before=(f"{TRAIN.format(1)} out/cnn",),
    ),
    "train-again": Case(
        f"{TRAIN.format(1)} out/cnn --force", before=(f"{TRAIN.format(2)} out/cnn --seed 1",)
    ),
    "train-cached": Case(
        f"{TRAIN.format(1)} out/cnn --cache out/cache --single-task 0.1",
        own=("out/cache/*.npy", "out/cache/*.json"),
        before=(f"{TRAIN.format(1)} made/other --cache out/cache",),
    ),
    "train-caching": Case(
        f"{TRAIN.format(1)} out/cnn --cache out/cache --workers 1 -g kinds.json", PHOTOS
    ),
    "predict": Case(
        "predict made/run x.npy -o out/p.csv",
        ("x.npy",),
        own=MODEL,
        before=(f"{FIT} made/run",),
        says=True,
    ),
    "predict-again": Case(
        "predict made/run x.npy -o out/p.csv --force",
        before=(f"{FIT} made/run", "predict made/run x.npy -o out/p.csv --scores"),
        replaces="out/p.csv",
    ),
    "predict-trained": Case(
        "predict made/cnn photos -o out/p.csv --scores",
        PHOTOS[1:],
        own=CNN,
        before=(f"{TRAIN.format(1)} made/cnn",),
    ),
    "evaluate": Case(
        "evaluate made/run x.npy -l y.csv --by-attribute",
        ("x.npy", "y.csv"),
        own=(*MODEL, "made/run/fitted_rows.npy"),
        before=(f"{FIT} made/run",),
        says=True,
    ),
    "inspect": Case("inspect made/run", own=MODEL, before=(f"{FIT} made/run",), says=True),
    "report": Case(
        "report made/run -o out/page.html",
        own=(
            *MODEL,
            "made/run/metrics_by_attribute.csv",
            "made/run/predictions.csv",
            "made/run/history.csv",
        ),
        before=(f"{FIT} made/run",),
    ),
    "report-again": Case(
        "report made/run made/other -o out/page.html --force",
        before=(
            f"{FIT} made/run",
            f"{FIT} made/other --seed 1",
            "report made/run -o out/page.html",
        ),
        replaces="out/page.html",
    ),
    "compare": Case(
        "compare made/run made/other -a -o out/scores.csv",
        own=(
            *MODEL,
            "made/run/metrics_by_attribute.csv",
            "made/run/predictions.csv",
            "made/run/config.json",
        ),
        before=(f"{FIT} made/run", f"{FIT} made/other --seed 1"),
        says=True,
    ),
    "rerun": Case(
        "rerun made/run -o out/run",
        TABLES,
        own=("made/run/config.json", "made/run/manifest.json"),
        before=(f"{FIT} made/run",),
    ),
    "zeroshot": Case(
        "zeroshot made/run x.npy --matrix matrix.csv --classes classes.csv --held-out x.npy"
        " --held-out-labels y.csv -o out/z.csv",
        ("x.npy", "matrix.csv", "classes.csv", "y.csv"),
        own=(*MODEL, "made/run/fitted_rows.npy"),
        before=(f"{FIT} made/run",),
        says=True,
    ),
    "demo": Case(
        "demo --n-train 110 --observed 1 --n-splits 1 --max-passes 3 -o out/demo", slow=True
    ),
    "demo-cnn": Case(
        "demo --cnn --n-train 300 --observed 1 --epochs 1 --max-passes 3 -o out/demo", slow=True
    ),
}
