import numpy as np
import pytest
from scipy.io import savemat

from proxmtl.backbones import TarImages, open_image
from proxmtl.backbones.experiments.datasets import load_clothing

N = 6


@pytest.fixture
def folder(clothing_folder):
    return clothing_folder


def test_labels_become_no_yes_missing(folder):
    savemat(folder / "labels_mat" / "gender_GT.mat", {"GT": [[1.0], [2.0], [np.nan]] * 2})
    data = load_clothing(folder)
    assert data.Y.shape == (N, 23)
    gender = data.Y[:, data.names.index("gender")]
    np.testing.assert_array_equal(gender, [0, 1, np.nan, 0, 1, np.nan])
    assert data.groups.names == ("colors", "patterns", "cloth_parts", "appearance")
    assert data.groups.sizes.tolist() == [11, 6, 4, 2]
    assert data.groups.is_disjoint
    assert data.groups.uncovered == []


def test_images_come_in_the_order_of_the_labels(folder):
    data = load_clothing(folder)
    reds = [open_image(image).getpixel((0, 0))[0] for image in data.images]
    assert reds == sorted(reds)
    assert len(data.images) == len(data.image_names) == N


def test_labels_alone_are_enough(folder):
    for path in (folder / "images").iterdir():
        path.unlink()
    (folder / "images").rmdir()
    (folder / "labels_mat").rename(folder / "labels")
    data = load_clothing(folder)
    assert data.images is None
    assert data.Y.shape == (N, 23)


def test_missing_or_damaged_files_are_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected the folder of the Clothing.*PROXMTL"):
        load_clothing(tmp_path / "nowhere")
    (folder / "images" / "000003.jpg").unlink()
    with pytest.raises(ValueError, match=r"lacks 1 of 6 images: 000003\.jpg"):
        load_clothing(folder)
    labels = folder / "labels_mat"
    savemat(labels / "red_GT.mat", {"GT": [[1.0], [2.0]]})
    with pytest.raises(ValueError, match=r"red_GT\.mat has 2 labels and black_GT\.mat has 6"):
        load_clothing(folder)
    savemat(labels / "red_GT.mat", {"GT": [[0.0], [2.0]] * 3})
    with pytest.raises(ValueError, match=r"red_GT\.mat has the values \[0\.0\]"):
        load_clothing(folder)
    savemat(labels / "red_GT.mat", {"labels": [[1.0]]})
    with pytest.raises(ValueError, match=r"red_GT\.mat can't be read as a MATLAB file"):
        load_clothing(folder)
    (labels / "red_GT.mat").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"red_GT\.mat can't be read as a MATLAB file"):
        load_clothing(folder)
    (labels / "red_GT.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"red_GT\.mat isn't there"):
        load_clothing(folder)


@pytest.mark.data
def test_the_real_data_set(data):
    clothing = load_clothing(data / "clothing_attributes")
    assert clothing.Y.shape == (1856, 23)
    black = clothing.Y[:, clothing.names.index("black")]
    assert (np.sum(black == 0), np.sum(black == 1), np.sum(np.isnan(black))) == (1124, 620, 112)
    assert isinstance(clothing.images, TarImages)
    assert min(open_image(next(iter(clothing.images))).size) == 224


@pytest.mark.data
def test_the_real_labels_equal_the_table_beside_them(data):
    pandas = pytest.importorskip("pandas")
    clothing = load_clothing(data / "clothing_attributes")
    table = pandas.read_csv(data / "clothing_attributes" / "labels.csv")
    np.testing.assert_array_equal(clothing.Y, table[list(clothing.names)].to_numpy() - 1)
    assert tuple(table["image"]) == clothing.image_names
