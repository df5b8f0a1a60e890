import io

import numpy as np
import pytest
from arithmetic import assert_same_sums
from PIL import Image
from quantized_cases import naive_net, roundings

from proxmtl.backbones import extract, extract_to_file, images, load_network, open_image, to_pixels
from proxmtl.backbones.ahead import ahead


def encoded(array, kind="PNG", **options):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def net(tiny_net, tmp_path):
    np.savez(tmp_path / "tiny.npz", **tiny_net)
    return load_network(str(tmp_path / "tiny.npz"))


@pytest.fixture
def pictures():
    rng = np.random.default_rng(2)
    return [rng.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8) for i in range(7)]


def test_features_are_the_nets_output_whatever_the_batch(net, tiny_net, pictures):
    features = extract(pictures, net, batch_size=3)
    assert features.shape == (7, 4)
    assert features.dtype == np.float32
    for picture, row in zip(pictures, features, strict=True):
        pixels = to_pixels(picture, 9)
        alone = net.features(pixels[None])[0]
        sizes, _ = naive_net(tiny_net, pixels, sizes=True)
        assert_same_sums(row, alone, sizes=sizes, length=roundings(tiny_net))


@pytest.mark.parametrize("workers", [1, 3])
def test_threads_that_decode_change_nothing(net, pictures, tmp_path, workers):
    images = [*pictures[:5], b"x", *pictures[5:]]
    expected = extract_to_file(images, net, tmp_path / "f.npy", batch_size=3, skip_corrupt=True)
    found = extract_to_file(
        images, net, tmp_path / "g.npy", batch_size=3, skip_corrupt=True, workers=workers
    )
    np.testing.assert_array_equal(found.features, expected.features)
    assert (found.rows.tolist(), found.skipped) == (expected.rows.tolist(), expected.skipped)
    with pytest.raises(ValueError, match="image 5 can't be decoded"):
        extract(images, net, workers=workers)


def test_the_limit_of_pillow_stays_whatever_threads_open(pictures, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # smaller than any of them
    given = [encoded(picture) for picture in pictures] * 20
    assert len(list(ahead(to_square, given, 4))) == 140
    assert Image.MAX_IMAGE_PIXELS == 100


def to_square(image):
    return to_pixels(image, 4)


def test_paths_bytes_pillow_and_arrays_are_the_same_image(net, pictures, tmp_path):
    array = pictures[0]
    (tmp_path / "a.png").write_bytes(encoded(array))
    forms = [array, encoded(array), Image.fromarray(array), tmp_path / "a.png"]
    # one by one: an image's place in a batch may change the order of its sums
    features = extract([*forms, str(tmp_path / "a.png")], net, batch_size=1)
    assert (features == features[0]).all()


def test_out_appears_complete_and_progress_reaches_the_end(net, pictures, tmp_path):
    seen = []
    features = extract(
        pictures, net, 3, out=tmp_path / "f.npy", progress=lambda done, n: seen.append((done, n))
    )
    np.testing.assert_array_equal(np.load(tmp_path / "f.npy", allow_pickle=False), features)
    assert seen == [(0, 7), (3, 7), (6, 7), (7, 7)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.npy", "f.seal.json", "tiny.npz"]


def test_a_bad_image_leaves_the_old_file(net, pictures, tmp_path):
    out = tmp_path / "f.npy"
    out.write_bytes(b"old")
    with pytest.raises(ValueError, match="image 7 can't be decoded"):
        extract_to_file([*pictures, b"not an image"], net, out, fresh=True)
    with pytest.raises(ValueError, match=r"f\.npy: the file exists; give --force"):
        extract(pictures, net, out=out)
    assert out.read_bytes() == b"old"


def test_bad_arguments(net, pictures, tmp_path):
    with pytest.raises(ValueError, match=r"features are written as \.npy: give such a name"):
        extract(pictures, net, out=tmp_path / "f.csv")
    with pytest.raises(FileNotFoundError, match="make it first"):
        extract(pictures, net, out=tmp_path / "no" / "f.npy")
    with pytest.raises(ValueError, match="0 images in batches of 8"):
        extract([], net)
    with pytest.raises(ValueError, match="in batches of 0"):
        extract(pictures, net, batch_size=0)
    with pytest.raises(ValueError, match="fit='squeeze'"):
        extract(pictures, net, fit="squeeze")
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg isn't there"):
        extract([tmp_path / "gone.jpg"], net)
    with pytest.raises(ValueError, match="is an array"):
        extract([np.zeros((4, 4, 3))], net)


def test_crop_takes_the_centre_pad_keeps_all_stretch_fills():
    array = np.zeros((40, 120, 3), dtype=np.uint8)
    array[:, 40:80] = 255  # white middle third, black sides
    crop, stretch, pad = (to_pixels(array, 30, fit) for fit in ("crop", "stretch", "pad"))
    assert crop.shape == stretch.shape == pad.shape == (3, 30, 30)
    assert crop.min() > 250
    assert stretch[0, 15, 2] == 0
    assert stretch[0, 2, 15] == 255
    assert pad[0, 2, 15] == 128  # grey bars above and below
    assert pad[0, 15, 2] == 0
    assert pad[0, 15, 15] == 255


def test_resizing_down_is_antialiased():
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = to_pixels(np.repeat(board[:, :, None], 3, axis=2), 8, "stretch")
    assert np.abs(small.astype(int) - 127).max() < 8


def test_grey_palette_alpha_and_rotated_images_become_upright_rgb():
    rng = np.random.default_rng(3)
    grey = rng.integers(0, 256, (6, 8), dtype=np.uint8)
    assert np.asarray(open_image(grey)).shape == (6, 8, 3)
    rgba = rng.integers(0, 256, (6, 8, 4), dtype=np.uint8)
    assert np.asarray(open_image(encoded(rgba))).shape == (6, 8, 3)
    palette = Image.fromarray(grey).convert("P")
    assert open_image(palette).mode == "RGB"
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned: rotate by 270 degrees
    assert open_image(encoded(grey, "JPEG", exif=exif)).size == (6, 8)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_grey_beyond_8_bits_is_refused_not_clipped(mode):
    kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
    picture = Image.fromarray(np.full((5, 5), 3000, kind))
    assert picture.mode == mode
    with pytest.raises(ValueError, match=f"scan can't be decoded .* mode {mode}, go beyond 8 bits"):
        open_image(picture, "scan")


def test_files_of_images_are_closed_whether_they_are_decoded_or_not(tmp_path, monkeypatch):
    whole = encoded(np.random.default_rng(4).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    (tmp_path / "whole.png").write_bytes(whole)
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    handles = []
    monkeypatch.setattr(images, "_check_size", lambda image: handles.append(image.fp))
    open_image(tmp_path / "whole.png")
    with pytest.raises(ValueError, match=r"half\.png can't be decoded"):
        open_image(tmp_path / "half.png")
    assert [handle.closed for handle in handles] == [True, True]


def test_an_image_too_large_to_be_one_is_skipped(net, pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("PROXMTL_MAX_IMAGE_PIXELS", "3000")
    given = [encoded(np.zeros((60, 60, 3), np.uint8)), np.zeros((9, 9, 3), np.uint8)]
    found = extract_to_file(given, net, tmp_path / "f.npy", skip_corrupt=True)
    assert found.rows.tolist() == [1]
    assert "60 x 60 pixels, and the limit is 3,000" in found.skipped[0]
    monkeypatch.setenv("PROXMTL_MAX_IMAGE_PIXELS", "3600")
    assert len(extract(given, net)) == 2
