import numpy as np

from proxmtl.io import load_digit_attributes


def test_the_table_is_a_partition_into_distinct_attributes():
    data = load_digit_attributes()
    assert data.X.shape == (1797, 64)
    assert data.Y.shape == (1797, len(data.names))
    assert [name for members in data.groups.values() for name in members] == list(data.names)
    assert len(set(data.names)) == len(data.names)
    correlation = np.corrcoef(data.Y.T) - np.eye(len(data.names))
    assert np.abs(correlation).max() < 1 - 1e-9, "two attributes say the same"


def test_an_image_has_the_attributes_of_its_class():
    data = load_digit_attributes()
    for name, digits in [("even", {0, 2, 4, 6, 8}), ("closed loop", {0, 6, 8, 9})]:
        column = data.names.index(name)
        assert set(data.digits[data.Y[:, column] == 1]) == digits
