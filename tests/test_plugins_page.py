"""The page on plug-ins shows the files of the example package, word for word."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "examples" / "plugin"
_BLOCK = re.compile(r"```(\w+)\n(.*?)```\n", re.DOTALL)
_NAMED = re.compile(r"`([\w/]+\.(?:py|toml|yaml))`[^`]*\Z")


def files_shown() -> dict[str, str]:
    """File -> its text: all blocks that follow on its name, with an empty line between them."""
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    found: dict[str, list[str]] = defaultdict(list)
    end = 0
    for block in _BLOCK.finditer(page):
        paragraph = page[end : block.start()].rstrip("\n").rpartition("\n\n")[2]
        named = _NAMED.search(paragraph)
        if named is not None:
            found[named[1]].append(block[2])
        end = block.end()
    return {name: "\n".join(blocks) for name, blocks in found.items()}


def test_the_page_shows_every_file_of_the_example_package_word_for_word() -> None:
    files = {
        str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8")
        for path in PACKAGE.rglob("*")
        if path.suffix in {".py", ".toml", ".yaml"}
    }
    assert len(files) == 9
    assert files_shown() == files


def test_the_example_recommender_is_short() -> None:
    lines = (PACKAGE / "my_plugin" / "trending.py").read_text(encoding="utf-8").splitlines()
    assert sum(bool(line.strip()) and '"""' not in line for line in lines) < 40
