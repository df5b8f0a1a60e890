"""Extractions killed at any file that they move or remove: a part, or the features, and no rest."""

from pathlib import Path

import numpy as np
import pytest
from extract_cases import Mixer, Squares

from proxmtl.backbones import extract, extract_to_file
from proxmtl.backbones.feature_file import FeatureFile, clear_up
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
        kept = not out.exists() and any(out.with_name("f.npy.partial").glob("0*.json"))
        assert any("go" in note for note in said) == kept
        clear_up(out)
        if not out.exists():
            extract_to_file(images, network, out, skip_corrupt=True)
            ended.append(step)
        np.testing.assert_array_equal(np.load(out), expected)
        assert {path.name for path in out.parent.iterdir()} == {"f.npy", "f.seal.json"}
    assert 8 < len(ended) < step - 1


def test_a_kill_after_the_end_leaves_nothing_to_the_next_call(tmp_path):
    out, folder = tmp_path / "f.npy", tmp_path / "f.npy.partial"
    extract_to_file(Squares(3), Mixer(), out)

    def refused(out):
        with pytest.raises(InputError, match="the file exists"):
            extract(Squares(3), Mixer(), out=out)

    for clear in (clear_up, refused):
        folder.mkdir()
        for name in ("plan.json", "00000.npy", "seal.json"):  # all but the features, now in place
            (folder / name).write_text("x")
        (tmp_path / "f.npy.partial.lock").write_text("x")
        clear(out)
        assert {path.name for path in tmp_path.iterdir()} == {"f.npy", "f.seal.json"}
    folder.mkdir()
    kept = {"plan.json", "00000.npy", "seal.json", "features.npy"}
    for name in kept:  # of an interrupted extraction by force
        (folder / name).write_text("x")
    clear_up(out)
    assert {path.name for path in folder.iterdir()} == kept


@pytest.mark.parametrize("members", [None, 2])
@pytest.mark.parametrize("broken", ["_join", "_install"])
def test_a_kill_while_the_parts_are_joined(tmp_path, monkeypatch, members, broken):
    images, out = [b"x", *list(Squares(9))[1:]], tmp_path / "f.npy"
    network = Mixer(n_members=members)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FeatureFile, broken, killed)
        with pytest.raises(KeyboardInterrupt):
            extract_to_file(images, network, out, skip_corrupt=True)
    found = extract_to_file(images, network, out, skip_corrupt=True)
    np.testing.assert_array_equal(found.features, extract(images[1:], network))


def test_features_that_were_ready_are_not_those_of_another_request(tmp_path, monkeypatch):
    out = tmp_path / "f.npy"

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FeatureFile, "_install", killed)
        with pytest.raises(KeyboardInterrupt):
            extract_to_file(Squares(3), Mixer(), out)
    with pytest.raises(InputError, match="network differ"):
        extract_to_file(Squares(3), Mixer(seed=1), out)
    extract_to_file(Squares(3), Mixer(seed=1), out, fresh=True)
    np.testing.assert_array_equal(np.load(out), extract(Squares(3), Mixer(seed=1)))
