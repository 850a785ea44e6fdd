"""docs/explanation/SAFETY.md: the code and tests that it names exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "SAFETY.md"


def test_paths_on_the_page_exist():
    paths = set(re.findall(r"`((?:[\w-]+/)+[\w.-]*)`", PAGE.read_text(encoding="utf-8")))
    assert len(paths) > 30
    missing = sorted(path for path in paths if not (ROOT / path).exists() and not (ROOT / "latent_policy_ros" / path).exists())
    assert not missing
