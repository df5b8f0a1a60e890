"""Extractions killed at any file that they move or remove: a part, or the features, and no rest."""

from pathlib import Path

import numpy as np
import pytest
from extract_cases import Mixer, Squares

from proxmtl.backbones import extract, extract_to_file
from proxmtl.backbones.feature_file import FeatureFile
from proxmtl.backbones.partial_files import clear_up
from proxmtl.io import InputError, load_features


@pytest.mark.parametrize("killed_at", ["f.ids.csv", "f.seal.json", "f.npy"])
def test_a_kill_at_each_file_of_the_end_is_gone_on_from(tmp_path, monkeypatch, killed_at):
    whole, out, names = Path.replace, tmp_path / "f.npy", ["a", "b", "c"]

    def killed(self, target):
        if Path(target).name == killed_at:
            raise KeyboardInterrupt
        return whole(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            extract_to_file(Squares(3), Mixer(), out, ids=names)
    assert not out.exists()
    extract_to_file(Squares(3), Mixer(), out, ids=names)
    assert load_features(out).ids == tuple(names)
    assert not list(tmp_path.glob("*.partial*"))


@pytest.mark.parametrize("members", [None, 2])
def test_a_kill_at_any_file_leaves_a_part_or_nothing_but_the_features(
    tmp_path, monkeypatch, members
):
    images, network = [*list(Squares(5))[:4], b"x"], Mixer(n_members=members)
    expected, left, ended = extract(images[:4], network), 0, []

    def disturbed(whole):
        def act(self, *arguments, **options):
            nonlocal left
            if self.suffix != ".lock":
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt
            return whole(self, *arguments, **options)

        return act

    for step in range(1, 40):
        out, left = tmp_path / f"{step}" / "f.npy", step
        out.parent.mkdir()
        try:
            with monkeypatch.context() as patch:
                for name in ("replace", "unlink"):
                    patch.setattr(Path, name, disturbed(getattr(Path, name)))
                extract_to_file(images, network, out, skip_corrupt=True)
            break
        except KeyboardInterrupt as error:
            said = getattr(error, "__notes__", [])
        kept = out.with_name("f.npy.partial").exists()
        assert any("go" in note for note in said) == kept
        clear_up(out)
        if not out.exists():
            extract_to_file(images, network, out, skip_corrupt=True)
            ended.append(step)
        np.testing.assert_array_equal(np.load(out), expected)
        assert {path.name for path in out.parent.iterdir()} == {"f.npy", "f.seal.json"}
    assert 8 < len(ended) < step - 1


def test_a_kill_after_the_end_leaves_nothing_to_the_next_call(tmp_path):
    out = tmp_path / "f.npy"
    extract_to_file(Squares(3), Mixer(), out)

    def refused(out):
        with pytest.raises(InputError, match="the file exists"):
            extract(Squares(3), Mixer(), out=out)

    for clear in (clear_up, refused):
        for name in ("json", "lock"):
            (tmp_path / f"f.npy.partial.{name}").write_text("x")
        clear(out)
        assert {path.name for path in tmp_path.iterdir()} == {"f.npy", "f.seal.json"}
    part = [tmp_path / f"f.npy.partial{end}" for end in ("", ".json")]
    for path in part:  # of an interrupted extraction by force
        path.write_text("x")
    clear_up(out)
    assert all(path.exists() for path in part)


@pytest.mark.parametrize(
    ("members", "broken"),
    [(None, "_identify"), (2, "_identify"), (None, "_flush"), (2, "_copy_rows")],
)
def test_a_kill_while_rows_of_skipped_images_are_cut_off(tmp_path, monkeypatch, members, broken):
    images, out = [b"x", *list(Squares(9))[1:]], tmp_path / "f.npy"
    network, n_calls = Mixer(n_members=members), 0

    def killed(*_):
        nonlocal n_calls
        n_calls += 1
        if n_calls == (2 if broken == "_flush" else 1):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FeatureFile, broken, killed)
        with pytest.raises(KeyboardInterrupt):
            extract_to_file(images, network, out, skip_corrupt=True)
    found = extract_to_file(images, network, out, skip_corrupt=True)
    np.testing.assert_array_equal(found.features, extract(images[1:], network))
