"""CelebA's file of attributes, written by hand."""

import pytest

from proxmtl.backbones.experiments.datasets import load_celeba

TEXT = """3
Bald Eyeglasses
000001.jpg -1  1
000002.jpg  1 -1
000003.jpg -1 -1
"""


def test_the_distributed_layout_is_read(tmp_path):
    (tmp_path / "list_attr_celeba.txt").write_text(TEXT)
    data = load_celeba(tmp_path)
    assert data.names == ("Bald", "Eyeglasses")
    assert data.Y.tolist() == [[0, 1], [1, 0], [0, 0]]
    assert data.image_names[2] == "000003.jpg"
    assert data.images[0] == tmp_path / "img_align_celeba" / "000001.jpg"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("3\n", "4\n", "announces 4 images and has 3"),
        ("000002.jpg  1 -1", "000002.jpg  1", "line 4"),
        ("000003.jpg -1 -1", "000003.jpg -1 0", "line 5"),
        ("3\n", "", "doesn't begin with the number"),
    ],
)
def test_damaged_files_are_refused(tmp_path, old, new, said):
    (tmp_path / "list_attr_celeba.txt").write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ValueError, match=said):
        load_celeba(tmp_path)
    with pytest.raises(FileNotFoundError, match="the folder of CelebA"):
        load_celeba(tmp_path / "none")
