"""WBCAtt in both layouts, made by hand, and the real one where it is."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from proxmtl.backbones.data import ImageTable
from proxmtl.backbones.experiments.datasets import load_wbcatt

HEADER = (
    "img_name,label,cell_size,cell_shape,nucleus_shape,nuclear_cytoplasmic_ratio,chromatin_density,"
    "cytoplasm_vacuole,cytoplasm_texture,cytoplasm_colour,granule_type,granule_colour,granularity,path"
)
CELLS = [
    "a.jpg,Neutrophil,big,round,band,low,densely,no,clear,blue,small,pink,yes,PBC/neutrophil/a.jpg",
    "b.jpg,Monocyte,small,round,band,high,densely,yes,clear,blue,nil,nil,no,PBC/monocyte/b.jpg",
    "c.jpg,Neutrophil,big,irregular,lobed,low,loosely,no,clear,pale,coarse,red,yes,PBC/c.jpg",
]
WHERE = ["train", "test", "val"]


def picture(shade):
    stream = io.BytesIO()
    Image.new("RGB", (6, 6), (shade, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path):
    lines = [f"{HEADER},split", *(f"{c},{w}" for c, w in zip(CELLS, WHERE, strict=True))]
    (tmp_path / "attributes.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_every_value_is_an_attribute(folder):
    data = load_wbcatt(folder)
    assert data.images is None
    assert data.names[:4] == (
        "cell_size=big",
        "cell_size=small",
        "cell_shape=irregular",
        "cell_shape=round",
    )
    column = {name: data.Y[:, i].tolist() for i, name in enumerate(data.names)}
    assert column["granule_type=nil"] == [0, 1, 0]
    assert column["cytoplasm_vacuole=no"] == [1, 0, 1]
    assert column["cytoplasm_texture=clear"] == [1, 1, 1]
    for attribute in set(data.attributes):
        own = [i for i, name in enumerate(data.attributes) if name == attribute]
        assert data.Y[:, own].sum(1).tolist() == [1, 1, 1]
    assert data.cell_types.tolist() == ["Neutrophil", "Monocyte", "Neutrophil"]
    assert {name: rows.tolist() for name, rows in data.splits.items()} == {
        "train": [0],
        "val": [2],
        "test": [1],
    }
    assert data.groups.names == ("cell", "nucleus", "cytoplasm", "granule")
    assert [data.names[i].partition("=")[0] for i in data.groups.members(0)] == [
        "cell_size"
    ] * 2 + ["cell_shape"] * 2
    assert data.values(data.Y, "granule_colour") == ["pink", "nil", "red"]
    with pytest.raises(ValueError, match="got 'size'; use cell_size"):
        data.values(data.Y, "size")


def test_the_distributed_tables_are_the_same(folder):
    whole = load_wbcatt(folder)
    (folder / "attributes.csv").unlink()
    for cell, where in zip(CELLS, WHERE, strict=True):
        (folder / f"pbc_attr_v1_{where}.csv").write_text(f"{HEADER}\n{cell}\n")
    data = load_wbcatt(folder)
    order = [whole.image_names.index(name) for name in data.image_names]
    np.testing.assert_array_equal(data.Y, whole.Y[order])
    assert [rows.tolist() for rows in data.splits.values()] == [[0], [1], [2]]
    (folder / "pbc_attr_v1_val.csv").unlink()
    with pytest.raises(FileNotFoundError, match="the table of part 'val'"):
        load_wbcatt(folder)


@pytest.mark.parametrize("layout", ["folder", "folder cut", "tar", "tar cut"])
def test_images_are_found(folder, layout):
    names = [cell.rpartition(",")[2] for cell in CELLS]
    stored = [name.partition("/")[2] if "cut" in layout else name for name in names]
    shades = [10, 120, 240]
    if "tar" in layout:
        with tarfile.open(folder / "images_9.tar", "w") as archive:
            for name, shade in reversed(list(zip(stored, shades, strict=True))):
                info = tarfile.TarInfo(name)
                content = picture(shade)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    else:
        for name, shade in zip(stored, shades, strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(picture(shade))
    data = load_wbcatt(folder)
    table = ImageTable.from_images(data.images, data.Y, data.names, 4, ids=data.image_names)
    assert table.pixels[:, 0].mean((1, 2)).tolist() == shades
    assert table.ids == tuple(names)
    if layout == "folder":
        (folder / stored[0]).unlink()
        with pytest.raises(ValueError, match="lacks 1 of 3 images"):
            load_wbcatt(folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("cell_size,", "size,", "no column 'cell_size'"),
        (",split\n", ",part\n", "no column 'split'"),
        ("Monocyte,small", "Monocyte,", "line 3: 'cell_size' is blank"),
        (",val\n", ",valid\n", "line 4: 'split' is blank or unknown"),
        ("PBC/c.jpg", "PBC/monocyte/b.jpg", "an image twice"),
    ],
)
def test_damaged_tables_are_refused(folder, old, new, said):
    path = folder / "attributes.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=said):
        load_wbcatt(folder)


@pytest.mark.data
def test_the_real_data_set(data):
    cells = load_wbcatt(data / "wbcatt")
    assert cells.Y.shape == (10298, 31)
    assert {name: len(rows) for name, rows in cells.splits.items()} == {
        "train": 6169,
        "val": 1030,
        "test": 3099,
    }
    assert [len(cells.groups.members(g)) for g in range(4)] == [4, 10, 7, 10]
    assert int(cells.Y[:, cells.names.index("granule_type=nil")].sum()) == 2631
    assert len(cells.images) == 10298
    image = Image.open(io.BytesIO(next(iter(cells.images))))
    assert image.size == (96, 96)
