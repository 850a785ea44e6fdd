"""Documentation: relative links and paths of the package exist, commands are those of the command line."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)")
PATH = re.compile(
    r"(?<![\w/.-])((?:latent_policy_ros(?=/(?!action/|msg/)[a-z])|config|launch|msg|test|benchmarks|docs|requirements)/[\w./-]*\w)"
)


def test_there_are_pages():
    assert ROOT / "README.md" in PAGES and len(PAGES) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_exist(page):
    text = page.read_text(encoding="utf-8")
    links = [link for link in LINK.findall(text) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [path for path in PATH.findall(text) if not (ROOT / path).exists()]
    assert not missing, f"{page.name} names what does not exist: {', '.join(sorted(set(missing)))}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page):
    from typer.main import get_command

    from latent_policy_ros.cli import app

    top = get_command(app)
    for words in re.findall(r"latent-policy((?: [a-z][a-z-]*)+)", page.read_text(encoding="utf-8")):
        command, given = top, words.split()
        for word in given:
            if not hasattr(command, "commands"):
                break
            assert word in command.commands, f"{page.name}: no command latent-policy {' '.join(given)}"
            command = command.commands[word]
