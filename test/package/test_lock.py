import importlib.util
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("lock", Path(__file__).parents[2] / "requirements" / "lock.py")
lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lock)

PYTHONS = "3.10", "3.11", "3.12"


@pytest.mark.parametrize(
    ("versions", "lines"),
    [
        (("1", "1", "1"), ["p==1"]),
        (("1", None, None), ["p==1"]),
        (("1", "2", "2"), ['p==1; python_version < "3.11"', 'p==2; python_version >= "3.11"']),
        (("1", None, "2"), ['p==1; python_version < "3.11"', 'p==2; python_version >= "3.11"']),
        (("1", "2", None), ['p==1; python_version < "3.11"', 'p==2; python_version >= "3.11"']),
        (("1", "2", "3"), ['p==1; python_version < "3.11"', 'p==2; python_version >= "3.11" and python_version < "3.12"',
                           'p==3; python_version >= "3.12"']),
    ],
)  # fmt: skip
def test_pins_differ_only_where_pythons_do(versions, lines):
    assert lock.pins("p", dict(zip(PYTHONS, versions))) == lines


def test_versions_that_go_back_and_forth_are_an_error():
    with pytest.raises(ValueError, match="p==1 is chosen by Pythons that do not follow each other"):
        lock.pins("p", dict(zip(PYTHONS, ("1", "2", "1"))))
