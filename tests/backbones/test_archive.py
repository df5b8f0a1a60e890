"""Images of tar archives: all that are listed, or an error that names archive and member."""

import io
import os
import tarfile

import numpy as np
import pytest

from proxmtl.backbones import TarImages
from proxmtl.backbones.data import find_images
from proxmtl.backbones.stream import decode
from proxmtl.io import InputError

CONTENT = {f"d/{i}.png": bytes([i]) * (300 + 400 * i) for i in range(6)}


def write_tar(path, members=CONTENT, form=tarfile.PAX_FORMAT, links=()):
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target, kind in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    return path


def headers(path):
    with tarfile.open(path) as archive:
        return [member.offset for member in archive.getmembers()]


def test_members_come_in_the_asked_order(tmp_path):
    path = write_tar(tmp_path / "a.tar")
    images = TarImages(path)
    assert images.names == list(CONTENT)
    assert list(images) == list(CONTENT.values())
    some = TarImages(path, ["d/4.png", "d/1.png"])
    assert len(some) == 2
    assert list(some) == [CONTENT["d/4.png"], CONTENT["d/1.png"]]
    assert list(some) == list(some)  # can be read again
    assert list(images.only(["d/2.png"])) == [CONTENT["d/2.png"]]
    assert len(images) == 6
    with pytest.raises(
        InputError, match="lacks 1 image of the 2 asked for, such as 'two'; correct"
    ):
        TarImages(path, ["d/1.png", "two"])
    with pytest.raises(
        InputError, match=r"Without folders 2 would match \('1.png' and 'd/1.png'\)"
    ):
        TarImages(path, ["1.png", "2.png"])


def test_images_that_cannot_be_decoded_are_named_with_their_archive(tmp_path):
    images = TarImages(write_tar(tmp_path / "a.tar"), ["d/3.png", "d/1.png"])
    with pytest.raises(ValueError, match=r"a\.tar: d/3\.png can't be decoded"):
        next(decode(images, 8, "crop", 4, names=["3", "1"]))
    (batch,) = decode(images, 8, "crop", 4, skip_corrupt=True)
    assert batch.pixels.shape == (0, 3, 8, 8)
    assert [reason.split(" can't")[0] for _, reason in batch.bad] == [
        f"{tmp_path / 'a.tar'}: d/{number}.png" for number in (3, 1)
    ]


def test_names_are_those_of_the_folder_that_was_packed(tmp_path):
    """``tar -c .`` writes ``./a.png``, and labels and the folder itself have ``a.png``."""
    members = {f"./{name}": content for name, content in CONTENT.items()}
    links = [
        ("./hard.png", "./d/1.png", tarfile.LNKTYPE),
        ("./soft.png", "d/2.png", tarfile.SYMTYPE),
    ]
    path = write_tar(tmp_path / "a.tar", members, links=links)
    assert TarImages(path).names == [*CONTENT, "hard.png", "soft.png"]
    assert find_images(path).ids == (*CONTENT, "hard.png", "soft.png")
    found = find_images(path, ["d/3.png", "./d/2.png", "hard.png"])
    assert list(found.images) == [CONTENT["d/3.png"], CONTENT["d/2.png"], CONTENT["d/1.png"]]
    write_tar(path, {"a.png": b"a", "./a.png": b"b"})
    with pytest.raises(InputError, match=r"holds '.*a\.png' twice"):
        TarImages(path)


@pytest.mark.parametrize("packed", [True, False])
def test_archives_inside_are_said_not_to_be_looked_into(tmp_path, packed):
    def look(names):
        content = dict.fromkeys(names, b"x")
        if packed:
            return find_images(write_tar(tmp_path / "a.tar", content)).ids
        for name in names:
            (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "photos" / name).write_bytes(b"x")
        return find_images(tmp_path / "photos").ids

    inside = ["more/b.ZIP", "more/a.tar"]
    with pytest.raises(
        InputError, match=r"no images among its 2 files.* 2 archives in it, such as .*, are not"
    ):
        look(inside)
    with pytest.warns(
        UserWarning, match=r"'more/.*, are not looked into; unpack them into a folder"
    ):
        assert look(["1.png", *inside, ".hidden.tar"]) == ("1.png",)


def test_compressed_files_are_no_archives(tmp_path):
    for name in ("1.png", "labels.csv.gz", "notes.xz"):
        (tmp_path / name).write_bytes(b"x")
    assert find_images(tmp_path).ids == ("1.png",)
    (tmp_path / "more.tar.gz").write_bytes(b"x")
    with pytest.warns(UserWarning, match=r"'more\.tar\.gz' in it is an archive"):
        find_images(tmp_path)


def test_what_is_no_tar_archive_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.tar isn't there"):
        TarImages(tmp_path / "a.tar")
    for content in (b"x" * 2000, b"", b"\0" * 100):
        (tmp_path / "a.tar").write_bytes(content)
        with pytest.raises(InputError, match=r"a\.tar: (can't be read as a plain tar|is cut off)"):
            TarImages(tmp_path / "a.tar")
    with tarfile.open(tmp_path / "b.tar", "w:gz") as archive:
        archive.add(tmp_path / "a.tar", "a.png")
    with pytest.raises(InputError, match="decompress a compressed one first"):
        TarImages(tmp_path / "b.tar")
    for name in ("b.tar.gz", "b.tgz", "b.zip"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(InputError, match="a compressed archive"):
            find_images(tmp_path / name)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_flipped_bit_in_any_header_is_found(tmp_path, form):
    members = {**CONTENT, "long/" * 40 + "ü.png": b"x" * 700, "z.png": b"z"}
    if form == tarfile.USTAR_FORMAT:
        members = CONTENT
    path = write_tar(tmp_path / "a.tar", members, form)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for start in [*headers(path), len(whole) - 512]:
        for position in [start, *(start + rng.choice(512, 12, replace=False))]:
            damaged = bytearray(whole)
            damaged[position] ^= 1 << rng.integers(8)
            path.write_bytes(damaged)
            if 148 + 6 <= position - start < 148 + 8:  # blanks behind the checksum
                assert list(TarImages(path)) == list(members.values())
                continue
            with pytest.raises(InputError, match=r"a\.tar: .*again"):
                TarImages(path)


def test_the_member_is_named(tmp_path):
    path = write_tar(tmp_path / "a.tar")
    start, whole = headers(path)[2], path.read_bytes()
    path.write_bytes(whole[: start + 20] + b"!" + whole[start + 21 :])
    expected = r"header after member 2, 'd/1\.png', of 'd/2\.png' at byte .* is damaged"
    with pytest.raises(InputError, match=expected):
        find_images(path)
    info = tarfile.TarInfo("0.png")
    info.pax_headers = {"mtime": "0.5"}  # as of files with times of fractions of a second
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        archive.addfile(info)
    extended = (tmp_path / "b.tar").read_bytes()
    (tmp_path / "b.tar").write_bytes(extended[:20] + b"!" + extended[21:])
    (tmp_path / "c.tar").write_bytes(whole[:start] + (tmp_path / "b.tar").read_bytes())
    with pytest.raises(InputError, match=r"of '0\.png' at byte"):
        find_images(tmp_path / "c.tar")
    path.write_bytes(whole[:start] + bytes(512) + whole[start + 512 :])
    with pytest.raises(InputError, match=r"more than zeros behind its end after member 2"):
        find_images(path)


def test_an_archive_that_is_cut_anywhere_is_refused(tmp_path):
    path = write_tar(tmp_path / "a.tar")
    whole, starts = path.read_bytes(), headers(path)
    end = starts[-1] + 512 + -(-len(CONTENT["d/5.png"]) // 512) * 512
    for cut in sorted({*starts, *(s + 100 for s in starts), *(s + 512 for s in starts), end}):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"a\.tar: .*again"):
            TarImages(path)
    path.write_bytes(whole[: end + 512])  # nothing is lost
    assert list(TarImages(path)) == list(CONTENT.values())
    images = TarImages(path)
    path.write_bytes(whole[:2000])
    with pytest.raises(InputError, match="has changed since its images were listed"):
        list(images)


def test_joined_archives_and_names_that_come_twice_are_refused(tmp_path):
    one, two = write_tar(tmp_path / "a.tar"), write_tar(tmp_path / "b.tar", {"b.png": b"b"})
    both = tmp_path / "both.tar"
    both.write_bytes(one.read_bytes() + two.read_bytes())
    with pytest.raises(InputError, match="archives were joined"):
        TarImages(both)
    with tarfile.open(two, "a") as archive:
        archive.addfile(tarfile.TarInfo("b.png"))
    with pytest.raises(InputError, match=r"holds 'b\.png' twice"):
        TarImages(two)


def test_links_give_what_they_lead_to(tmp_path):
    links = [
        ("hard.png", "d/1.png", tarfile.LNKTYPE),
        ("d/soft.png", "2.png", tarfile.SYMTYPE),
        ("far.png", "d/soft.png", tarfile.SYMTYPE),
        ("notes", "nowhere", tarfile.SYMTYPE),
    ]
    path = write_tar(tmp_path / "a.tar", links=links)
    found = find_images(path)
    read = dict(zip(found.ids, found.images, strict=True))
    assert set(read) == {*CONTENT, "hard.png", "d/soft.png", "far.png"}
    assert read["hard.png"] == CONTENT["d/1.png"]
    assert read["d/soft.png"] == read["far.png"] == CONTENT["d/2.png"]
    for target in ("../out.png", "lost.png"):
        write_tar(path, links=[("lost.png", target, tarfile.SYMTYPE)])
        with pytest.raises(InputError, match=r"lost\.png is a link to .*, which isn't in it"):
            find_images(path)


def test_members_are_limited(tmp_path, monkeypatch):
    path = write_tar(tmp_path / "a.tar")
    monkeypatch.setenv("PROXMTL_MAX_ARCHIVE_MEMBERS", "5")
    with pytest.raises(InputError, match=r"more than 5 members; .*ARCHIVE_MEMBERS=10"):
        TarImages(path)
    monkeypatch.setenv("PROXMTL_MAX_ARCHIVE_MEMBERS", "6")
    assert len(TarImages(path)) == 6


def test_images_of_a_folder_that_cannot_be_read_are_not_passed_over(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"x")
    assert find_images(tmp_path).ids == ("a.png",)
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(InputError, match=r"1 of its images are links .* 'b\.png'"):
        find_images(tmp_path)
    (tmp_path / "b.png").unlink()
    (tmp_path / "sub").mkdir()

    scandir = os.scandir

    def refused(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(InputError, match=r"sub: can't be looked into \(Permission denied\)"):
        find_images(tmp_path)
