import json

import numpy as np
import pytest

from proxmtl.backbones.experiments.datasets import load_awa


@pytest.fixture
def folder(animals):
    """Groups, and five images by their features."""
    groups = {
        "look": [{"index0": 0, "name": "black"}, {"index0": 3, "name": "fur"}],
        "rest": [{"index0": 1, "name": "big"}, {"index0": 2, "name": "swims"}],
    }
    (animals / "attribute_groups_9.json").write_text(json.dumps(groups))
    np.savez(
        animals / "features_pca512_int8.npz",
        features=np.arange(-5, 5, dtype=np.int8).reshape(5, 2),
        scale=np.array([0.5, 2.0], dtype=np.float32),
        label=np.array([0, 1, 1, 2, 0], dtype=np.uint8),
    )
    return animals


def test_images_have_the_attributes_of_their_class(folder):
    data = load_awa(folder)
    np.testing.assert_array_equal(data.X[0], [-2.5, -8.0])
    assert data.X.dtype == np.float32
    np.testing.assert_array_equal(data.Y[1], [1, 1, 1, 0])
    np.testing.assert_array_equal(data.Y[4], [1, 0, 0, 1])
    assert data.classes.names == ("cat", "killer+whale", "ox")
    assert data.classes.train == (0, 2)
    assert data.classes.test == (1,)
    np.testing.assert_array_equal(data.rows(data.classes.test), [1, 2])
    assert data.groups.names == ("look", "rest")
    assert data.groups.members(0) == [0, 3]


def test_features_without_a_scale(folder):
    np.savez(folder / "plain.npz", features=np.eye(3, dtype=np.uint8), label=np.arange(3))
    np.testing.assert_array_equal(load_awa(folder, "plain.npz").X, np.eye(3))


FILES = [
    ("classes.txt", "    2\tcat\n", r"line 1, reads '2"),
    ("classes.txt", "", "is empty or names something twice"),
    ("classes.txt", "1\tcat\n2\tcat\n", "names something twice"),
    ("predicates.txt", "black big\n", "expected '1<tab>name'"),
    ("predicate-matrix-binary.txt", "1 0 0 1\n1 1 1 0\n", "2 rows of .4. numbers; expected 3"),
    ("predicate-matrix-binary.txt", "1 0 0\n1 1 1\n0 1 0\n", "3 rows of .3. numbers"),
    ("predicate-matrix-binary.txt", "1 0 0 1\n1 1 5 0\n0 1 0 1\n", "has the entries .'5'."),
    ("trainclasses.txt", "dog\n", "names .'dog'., not among the 3 classes"),
    ("attribute_groups_9.json", "{", "isn't JSON"),
    ("attribute_groups_9.json", '{"g": ["black"]}', "isn't JSON of the form"),
    ("attribute_groups_9.json", '{"g": [{"index0": 1, "name": "fur"}]}', "isn't the attribute"),
    ("attribute_groups_9.json", '{"g": [{"index0": 9, "name": "fur"}]}', "isn't the attribute"),
    ("features_pca512_int8.npz", "nonsense", "not a readable npz"),
]


@pytest.mark.parametrize(("name", "content", "message"), FILES)
def test_damaged_files_are_named(folder, name, content, message):
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        load_awa(folder)
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"features": np.ones((2, 2))}, "doesn't hold features, label"),
        ({"features": np.ones((2, 2)), "label": np.zeros(3)}, "labels .3,"),
        ({"features": np.ones((2, 2)), "label": np.array([0, 7])}, r"outside 0\.\.2"),
        ({"features": np.full((1, 2), np.nan), "label": np.zeros(1)}, "isn't finite"),
        ({"features": np.ones((1, 2)), "label": np.zeros(1), "scale": np.ones(3)}, "fitting scale"),
    ],
)
def test_wrong_features_are_refused(folder, arrays, message):
    np.savez(folder / "features_pca512_int8.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load_awa(folder)


@pytest.mark.parametrize("name", sorted({name for name, _, _ in FILES}))
def test_missing_files_are_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name} isn't there: expected"):
        load_awa(folder)


def test_strengths_of_association_are_read_where_they_are_there(folder):
    assert load_awa(folder).classes.continuous is None
    path = folder / "predicate-matrix-continuous.txt"
    path.write_text("-1.00 0.00 12.5 100\n1 2 3 4\n5 6 7 8\n")
    strengths = load_awa(folder).classes.continuous
    np.testing.assert_array_equal(strengths[0], [np.nan, 0, 12.5, 100])
    for content, message in (
        ("1 2 3 4\n", "1 rows of .4."),
        ("a 2 3 4\n1 2 3 4\n5 6 7 8\n", "other than numbers"),
        ("-2 2 3 4\n1 2 3 4\n5 6 7 8\n", "outside 0..100"),
        ("1 2 3 nan\n1 2 3 inf\n5 6 7 8\n", "outside 0..100"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            load_awa(folder)


@pytest.mark.data
def test_the_real_data_set(data):
    awa = load_awa(data / "awa1")
    assert awa.X.shape == (30475, 512)
    assert awa.classes.attributes.shape == (50, 85)
    assert (len(awa.classes.train), len(awa.classes.test)) == (40, 10)
    assert not set(awa.classes.train) & set(awa.classes.test)
    assert awa.groups.sizes.tolist() == [8, 6, 4, 17, 5, 12, 10, 15, 8]
    assert awa.groups.uncovered == []
    whale = awa.classes.names.index("killer+whale")
    assert awa.classes.attributes[whale, awa.classes.attribute_names.index("flippers")] == 1
    assert len(awa.rows((whale,))) == 542
    assert np.isclose(awa.X[0, 0] / np.float32(0.01163759), np.round(awa.X[0, 0] / 0.01163759))
