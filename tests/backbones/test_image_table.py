"""Folders of images with a table of attributes; bad images; the file of decoded pixels."""

import os
import unicodedata
from hashlib import sha256

import numpy as np
import PIL
import pytest
import torch
from arithmetic import assert_same_sums
from PIL import Image

from proxmtl.backbones.data import ImageTable
from proxmtl.backbones.pixels import cropped, moments, to_input
from proxmtl.backbones.training import CropsAndFlips, Krizhevsky
from proxmtl.io import InputError
from proxmtl.sources import sources_read


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    lines = ["image,red,wide"]
    (tmp_path / "a").mkdir()
    for i in range(5):
        pixels = random.integers(0, 256, (6 + i, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a" / f"{i}.png")
        lines.append(f"a/{i}.png,{i % 2},{'' if i == 3 else 1}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def read(folder, **options):
    return ImageTable.read(folder, folder / "labels.csv", 8, **options)


def test_images_and_labels_are_brought_together(folder):
    table = read(folder)
    assert table.pixels.shape == (5, 3, 8, 8)
    assert table.names == ("red", "wide")
    assert table.ids[4] == "a/4.png"
    assert table.labels[:, 0].tolist() == [0, 1, 0, 1, 0]
    assert np.isnan(table.labels[3, 1])
    with Image.open(folder / "a" / "2.png") as image:
        resized = np.asarray(image.resize((8, 8), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(table.pixels[2], resized.transpose(2, 0, 1))


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_of_files_may_be_composed_or_not(folder, forms):
    """As macOS writes them, and as an editor does."""
    name, file = (unicodedata.normalize(form, "a/gr\u00fcn.png") for form in forms)
    (folder / "a" / "1.png").rename(folder / file)
    text = (folder / "labels.csv").read_text().replace("a/1.png", name)
    (folder / "labels.csv").write_text(text)
    table = read(folder)
    assert table.ids[1] == name
    cached = read(folder, cache=folder / "cache")
    np.testing.assert_array_equal(table.pixels, cached.pixels)
    (folder / file).write_bytes((folder / "a" / "0.png").read_bytes())
    np.testing.assert_array_equal(read(folder, cache=folder / "cache").pixels[1], table.pixels[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("a/", "photos/a/"), "Without folders 5 would match"),
        (lambda text: text.replace(".png", ""), "Without suffixes 5 would match"),
        (lambda text: text.replace(".png", ".PNG"), "In lower case 5 would match"),
        (lambda text: text.replace("a/3", "a\\3"), "With / for .* 1 would match"),
    ],
)
def test_names_that_are_no_files_say_how_they_would_be(folder, change, said):
    path = folder / "labels.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=said):
        read(folder)


def test_some_of_the_attributes(folder):
    table = read(folder)
    part = table.with_attributes(["wide"])
    assert part.names == ("wide",)
    np.testing.assert_array_equal(part.labels, table.labels[:, 1:])
    assert part.pixels is table.pixels
    with pytest.raises(ValueError, match="names: 'tall' is no attribute"):
        table.with_attributes(["tall"])


@pytest.mark.parametrize("cached", [False, True])
def test_bad_images_are_counted_named_and_skipped_only_if_asked(folder, cached):
    options = {"cache": folder / "cache"} if cached else {}
    (folder / "a" / "1.png").write_bytes(b"not an image")
    expected = r"1 of 5 images .*1\.png can't be decoded.*\)\. Get them .*skip_corrupt=True"
    for _ in range(2):  # the second time the cache knows
        with pytest.raises(InputError, match=expected):
            read(folder, **options)
    (folder / "a" / "3.png").unlink()  # other advice, before any is decoded
    expected = r"1 of the 5 named files is not there: a/3\.png\. Put them there, correct"
    with pytest.raises(InputError, match=expected):
        read(folder, **options, progress=lambda *_: pytest.fail("decoded"))
    table = read(folder, skip_corrupt=True, **options)
    assert table.ids == ("a/0.png", "a/2.png", "a/4.png")
    assert table.labels[:, 0].tolist() == [0, 0, 0]
    assert len(table.pixels) == 3
    assert len(table.skipped) == 2
    assert "1.png" in table.skipped[0]


def test_decoded_pixels_are_mapped_and_found_again(folder):
    plain = read(folder)
    seen = []
    first = read(folder, cache=folder / "cache", progress=lambda done, n: seen.append((done, n)))
    assert seen[-1] == (5, 5)
    again = read(folder, cache=folder / "cache", progress=lambda *_: pytest.fail("decoded again"))
    for table in (first, again):
        assert isinstance(table.pixels, np.memmap)
        np.testing.assert_array_equal(table.pixels, plain.pixels)
    # another image under the same name is read anew
    Image.new("RGB", (9, 9), (255, 0, 0)).save(folder / "a" / "0.png")
    os.utime(folder / "a" / "0.png", ns=(1, 1))
    changed = read(folder, cache=folder / "cache")
    assert changed.pixels[0, 0].min() == 255


def test_another_version_of_pillow_decodes_again(folder, monkeypatch):
    read(folder, cache=folder / "cache")
    seen = []
    monkeypatch.setattr(PIL, "__version__", "0.1")
    read(folder, cache=folder / "cache", progress=lambda *_: seen.append(1))
    assert len(seen) == 5


@pytest.mark.parametrize("suffix", [".npy", ".json"])
def test_damaged_pixels_are_decoded_again(folder, suffix, caplog):
    expected = read(folder).pixels
    read(folder, cache=folder / "cache")
    (path,) = (folder / "cache").glob(f"*{suffix}")
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.choice(len(whole) - 1, 20, replace=False):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << rng.integers(8)
        for damaged in (flipped, whole[:position], b"", whole + b"x"):
            path.write_bytes(damaged)
            caplog.clear()
            np.testing.assert_array_equal(read(folder, cache=folder / "cache").pixels, expected)
            assert "decoded again" in caplog.text
            caplog.clear()
            read(folder, cache=folder / "cache", progress=lambda *_: pytest.fail("decoded again"))
            assert not caplog.text


def test_the_hash_of_a_folder_is_that_of_the_files_as_they_were_read(folder):
    def lines(*names):
        texts = [(folder / name).read_bytes() for name in names]
        sums = [f"{sha256(text).hexdigest()}  {n}\n" for n, text in zip(names, texts, strict=True)]
        return sum(map(len, texts)), sha256("".join(sums).encode()).hexdigest()

    def source(**options):
        with sources_read() as sources:
            read(folder, **options)
        labels, images = sources
        assert labels.path.endswith("labels.csv")
        return images

    names = [f"a/{i}.png" for i in range(5)]
    assert source() == (str(folder), *lines(*names))
    assert source(cache=folder / "cache") == (str(folder), *lines(*names))
    assert source(cache=folder / "cache") == (str(folder), *lines(*names))
    before = lines(*names)

    def replaced(done, n):
        (folder / "a" / "0.png").write_bytes((folder / "a" / "1.png").read_bytes())

    assert source(progress=replaced) == (str(folder), *before)
    (folder / "a" / "2.png").unlink()
    left = [name for name in names if name != "a/2.png"]
    assert source(skip_corrupt=True) == (str(folder), *lines(*left))


def test_files_alike_but_for_their_folder_have_pixels_of_their_own(tmp_path):
    def labels(*names):
        (tmp_path / "labels.csv").write_text("image,white\n" + "".join(f"{n},1\n" for n in names))

    def brightness(images):
        table = ImageTable.read(images, tmp_path / "labels.csv", 8, cache=tmp_path / "cache")
        return table.pixels[:, 0, 0, 0].tolist()

    for folder, value in (("a", 255), ("b", 0)):
        path = tmp_path / folder / "1.ppm"
        path.parent.mkdir()
        Image.new("RGB", (8, 8), (value,) * 3).save(path)
        os.utime(path, ns=(1, 1))
    labels("a/1.ppm", "b/1.ppm")
    assert brightness(tmp_path) == [255, 0]
    labels("b/1.ppm", "a/1.ppm")
    assert brightness(tmp_path) == [0, 255]
    labels("1.ppm")
    assert brightness(tmp_path / "a") == [255]
    assert brightness(tmp_path / "b") == [0]


def test_tables_that_do_not_fit_are_refused(folder):
    (folder / "none.csv").write_text("red\n1\n")
    with pytest.raises(InputError, match="no column of file names"):
        ImageTable.read(folder, folder / "none.csv", 8)
    with pytest.raises(InputError, match="no such folder"):
        ImageTable.read(folder / "x", folder / "labels.csv", 8)
    (folder / "empty").mkdir()
    for skip in (False, True):
        with pytest.raises(InputError, match=r"none of the 5 named files .* right folder\?"):
            ImageTable.read(folder / "empty", folder / "labels.csv", 8, skip_corrupt=skip)
    pixels = np.zeros((2, 3, 4, 4), np.uint8)
    with pytest.raises(ValueError, match="give uint8"):
        ImageTable(pixels.astype(float), np.zeros((2, 1)), ("a",), ("0", "1"))
    for labels, ids in (((2, 2), ("0", "1")), ((2, 1), ("0",)), ((1, 1), ("0", "1"))):
        with pytest.raises(ValueError, match="give uint8"):
            ImageTable(pixels, np.zeros(labels), ("a",), ids)
    with pytest.raises(ValueError, match="saw -1"):
        ImageTable(pixels, -np.ones((2, 1)), ("a",), ("0", "1"))
    table = ImageTable.from_images(list(pixels.transpose(0, 2, 3, 1)), np.ones((2, 1)), ["a"], 6)
    assert table.pixels.shape == (2, 3, 6, 6)

    def images():
        raise AssertionError("decoded before the request was looked at")
        yield

    for labels, names, ids in (
        (np.ones((2, 1)), ["a"], ["x"]),
        (np.ones((2, 1)), ["a", "b"], None),
    ):
        with pytest.raises(ValueError, match="give"):
            ImageTable.from_images(images(), labels, names, 6, ids=ids)


def test_inputs_are_centred_and_scaled():
    pixels = np.random.default_rng(0).integers(0, 256, (700, 3, 5, 5), dtype=np.uint8)
    pixels[:, 1] //= 4
    rows = np.arange(600)
    mean, scale = moments(pixels, rows)
    inputs = to_input(torch.from_numpy(pixels[rows]), mean, scale)
    # the mean, the difference from it and the quotient are rounded
    centre, size = inputs.double().mean((0, 2, 3)).float(), inputs.abs().max()
    assert_same_sums(centre, torch.zeros(3), sizes=size, length=4)
    assert float(inputs.var((0, 2, 3)).mean()) == pytest.approx(1, abs=1e-4)
    middle = cropped(pixels[:2], (3, 3, 3))
    np.testing.assert_array_equal(middle, pixels[:2, :, 1:4, 1:4])
    with pytest.raises(ValueError, match="read larger images"):
        cropped(pixels[:2], (3, 7, 7))
    with pytest.raises(ValueError, match="the network takes"):
        cropped(pixels[:2], (1, 5, 5))


def crops_of(image, side):
    """Every crop of an image, and its mirror image."""
    height, width = image.shape[1:]
    for top in range(height - side + 1):
        for left in range(width - side + 1):
            crop = image[:, top : top + side, left : left + side]
            yield crop
            yield crop[..., ::-1]


def test_crops_and_flips_are_parts_of_the_images():
    images = np.random.default_rng(0).integers(0, 256, (40, 2, 5, 6), dtype=np.uint8)
    augmentation = CropsAndFlips(4)
    out = augmentation(images, range(40))
    np.testing.assert_array_equal(out[7:9], augmentation(images[7:9], [7, 8]))
    assert not np.array_equal(out, augmentation(images, range(1, 41)))
    kinds = set()
    for image, changed in zip(images, out, strict=True):
        (kind,) = (i for i, c in enumerate(crops_of(image, 4)) if np.array_equal(c, changed))
        kinds.add(kind)
    assert len(kinds) == 12  # 2 x 3 places, mirrored or not: all occur
    plain = CropsAndFlips(5, padding=1, flips=False)(images, range(40))
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    for image, changed in zip(padded, plain, strict=True):
        assert any(np.array_equal(c, changed) for c in list(crops_of(image, 5))[::2])
    with pytest.raises(ValueError, match="larger than the padded image"):
        CropsAndFlips(9)(images, range(40))


def test_colours_move_along_the_axes_of_the_training_set():
    rng = np.random.default_rng(0)
    one_axis = rng.integers(-58, 59, (300, 1, 8, 8)) * np.array([2, 1, -1])[:, None, None]
    images = (128 + one_axis).astype(np.uint8)
    augmentation = Krizhevsky(6).fitted(images, np.arange(300))
    assert repr(augmentation) == "Krizhevsky(side=6, padding=0, flips=True)"
    plain = CropsAndFlips(6)(images, range(300)).astype(int)
    shifts = augmentation(images, range(300)) - plain
    # one shift a channel but where a colour ends, along the axis, by 0.1 times the eigenvalue
    whole = [np.median(shift, (1, 2)) for shift in shifts]
    amounts = [float(shift @ [2, 1, -1]) / 6 for shift in whole]
    for shift, amount in zip(whole, amounts, strict=True):
        # whole numbers: half a level in each channel leaves the axis by at most 2/3 in one of them
        np.testing.assert_allclose(shift, amount * np.array([2, 1, -1]), rtol=0, atol=0.6667)
    direction = np.linalg.svd(np.array(whole))[2][0]
    # rounding of 0.3 levels, in 300 shifts of some 2.6 levels, turns the axis by less than 0.01
    axis = np.array([2, 1, -1]) / 6**0.5
    np.testing.assert_allclose(direction * np.sign(direction[0]), axis, atol=0.03)
    eigenvalue = np.linalg.eigvalsh(np.cov(images.swapaxes(0, 1).reshape(3, -1) / 255))[-1]
    of_unit = np.array(amounts) * 6**0.5 / 255
    assert np.std(of_unit) == pytest.approx(0.1 * eigenvalue, rel=0.15)  # of 300 draws
    with pytest.raises(ValueError, match="call fitted"):
        Krizhevsky(6)(images, range(300))


def test_threads_decode_the_same_table(folder):
    (folder / "a" / "1.png").write_bytes(b"not an image")
    with sources_read() as alone:
        plain = read(folder, skip_corrupt=True)
    seen = []
    for options in ({}, {"cache": folder / "cache"}):
        with sources_read() as sources:
            table = read(
                folder,
                skip_corrupt=True,
                workers=3,
                progress=lambda done, n: seen.append((done, n)),
                **options,
            )
        np.testing.assert_array_equal(table.pixels, plain.pixels)
        assert (table.ids, table.skipped, sources) == (plain.ids, plain.skipped, alone)
    assert seen == 2 * [(i, 5) for i in range(1, 6)]
