"""Fixture of the tests of descriptions: a small hand whose files can be changed."""

import pytest
from tiny_hands import DEFAULTS, FINGERS, MJCF, SHORT, URDF

from latent_policy_ros.embodiments import load_embodiment


@pytest.fixture
def hand(tmp_path, monkeypatch):
    """Writes the files, with one piece of one of them replaced, and loads the YAML."""
    monkeypatch.setenv("HANDS", str(tmp_path))
    (tmp_path / "parts").mkdir()

    def load(yaml=SHORT, old="", new="", urdf=URDF, mjcf=MJCF, fingers=FINGERS):
        contents = {
            "tiny.urdf": urdf,
            "tiny.xml": mjcf,
            "parts/defaults.xml": DEFAULTS,
            "parts/fingers.xml": fingers,
            "short.yaml": yaml,
        }
        for name, text in contents.items():
            if old and old in text:
                text = text.replace(old, new, 1)
            (tmp_path / name).write_text(text)
        assert not old or any(old in text for text in contents.values()), f"{old!r} is nowhere"
        return load_embodiment(tmp_path / "short.yaml")

    return load
