"""Images of a folder, an archive or a table are found, each once."""

import tarfile
import unicodedata

import pytest
from PIL import Image

from proxmtl.backbones.data import find_images
from proxmtl.io import InputError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / ".hidden").mkdir()
    picture = Image.new("RGB", (5, 5))
    for name in ("b.png", "sub/a.JPG", ".c.png", ".hidden/d.png"):
        picture.save(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("x")
    (tmp_path / "in" / "some.csv").write_text("image,kind\nsub/a.JPG,big\n")
    return tmp_path / "in"


def test_images_are_found(folder):
    assert find_images(folder).ids == ("b.png", "sub/a.JPG")
    assert find_images(folder, ["sub/a.JPG"]).images == [folder / "sub" / "a.JPG"]
    assert find_images(folder / "some.csv").ids == ("sub/a.JPG",)
    assert find_images(folder, ["no.png"], missing_ok=True).ids == ("no.png",)
    with tarfile.open(f"{folder}.tar", "w") as archive:
        for name in ("b.png", "notes.txt", "sub"):
            archive.add(folder / name, name)
    assert find_images(f"{folder}.tar").ids == ("b.png", "sub/a.JPG")
    with tarfile.open(f"{folder}.tar", "w") as archive:
        for name in ("sub", ".c.png", ".hidden", "b.png"):
            archive.add(folder / name, name)
    assert find_images(f"{folder}.tar").ids == ("b.png", "sub/a.JPG")


def test_images_are_found_by_either_form_of_their_names(folder):
    composed, decomposed = (unicodedata.normalize(form, "b\u00e4r.png") for form in ("NFC", "NFD"))
    (folder / "b.png").rename(folder / decomposed)
    assert find_images(folder, [composed]) == ((composed,), [folder / decomposed])
    with tarfile.open(f"{folder}.tar", "w") as archive:
        archive.add(folder / decomposed, decomposed)
    found = find_images(f"{folder}.tar", [composed])
    assert found.ids == (composed,)
    assert list(found.images) == [(folder / decomposed).read_bytes()]
    with pytest.raises(InputError, match="Without folders 1 would match"):
        find_images(folder, ["a.JPG"])


def test_links_are_followed_but_not_in_circles_and_folders_are_no_images(folder):
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    Image.new("RGB", (5, 5)).save(elsewhere / "e.png")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "d.png").mkdir()
    assert find_images(folder).ids == ("b.png", "linked/e.png", "sub/a.JPG")


def test_folders_that_link_to_each_other_are_listed_once(tmp_path):
    for name in ("a", "c"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (2, 2)).save(tmp_path / name / "1.png")
    (tmp_path / "a" / "to_c").symlink_to(tmp_path / "c")
    (tmp_path / "c" / "to_a").symlink_to(tmp_path / "a")
    assert find_images(tmp_path).ids == ("a/1.png", "c/1.png")
    assert find_images(tmp_path / "a").ids == ("1.png", "to_c/1.png")
    (tmp_path / ".c").symlink_to(tmp_path / "a")
    (tmp_path / "c").rename(tmp_path / ".hidden")  # which can be seen by a link alone
    (tmp_path / "seen").symlink_to(tmp_path / ".hidden")
    assert find_images(tmp_path).ids == ("a/1.png", "seen/1.png")


def test_a_table_gives_those_of_its_images_that_are_asked_for(folder):
    (folder / "two.csv").write_text("image\nb.png\nsub/a.JPG\n")
    assert find_images(folder / "two.csv", ["sub/a.JPG"]).ids == ("sub/a.JPG",)
    with pytest.raises(InputError, match=r"1 of the images asked for .* 'no\.png'"):
        find_images(folder / "two.csv", ["no.png", "b.png"])


def test_images_that_are_not_there_are_counted(folder):
    with pytest.raises(InputError, match=r"2 of the 3 named files are not there: x\.png, y\.png"):
        find_images(folder, ["b.png", "x.png", "y.png"])
    (folder / "sub" / "a.JPG").unlink()
    with pytest.raises(InputError, match="no images among its 0 files"):
        find_images(folder / "sub")
    with pytest.raises(InputError, match="no such folder"):
        find_images(folder / "none")
    with pytest.raises(InputError, match="a single image; give the folder that it is in"):
        find_images(folder / "b.png")
    (folder / "blank.csv").write_text("image,kind\n,big\n")
    with pytest.raises(InputError, match="line 2: no 'image'"):
        find_images(folder / "blank.csv")
    (folder / "other.csv").write_text("kind\nbig\n")
    with pytest.raises(InputError, match="no header of identifiers"):
        find_images(folder / "other.csv")
