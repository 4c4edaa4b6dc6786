"""The README is short and begins with the two commands; every page of docs/ is in the site's table of contents; links lead somewhere."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = sorted((ROOT / "docs").glob("**/*.md"))
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def test_readme_can_be_read_at_a_glance():
    lines = README.splitlines()
    assert len(lines) <= 200
    assert [line for line in lines if len(line) > 120] == []


@pytest.mark.parametrize("name", ["main", "test"])
def test_a_command_is_one_short_line_within_the_first_ten(name):
    """As .ci/run reads it: the one fenced block behind its marker."""
    lines = README.splitlines()
    at = lines.index(f"<!-- {name} command -->")
    opening, command, closing = lines[at + 1 : at + 4]
    assert (opening, closing) == ("```bash", "```")
    assert len(command) < 100
    assert at + 3 <= 10


def nav_pages(entry):
    if isinstance(entry, str):
        return [entry]
    return [page for one in (entry.values() if isinstance(entry, dict) else entry) for page in nav_pages(one)]


def test_every_page_is_in_the_nav_once():
    nav = nav_pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(nav) == [str(page.relative_to(ROOT / "docs")) for page in PAGES]


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_links_and_pictures_are_there(page):
    assert [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()] == []


def tables(text):
    """Line number and cells of each row of every Markdown table: neighbouring lines that begin with a bar, outside of fences."""
    lines, fenced, found = text.splitlines(), False, []
    for number, line in enumerate(lines, 1):
        fenced ^= line.lstrip().startswith("```")
        if fenced or not line.lstrip().startswith("|"):
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
        if found and found[-1][-1][0] == number - 1:
            found[-1].append((number, cells))
        else:
            found.append([(number, cells)])
    return found


def wrong_rows(text):
    """Lines that have another number of cells than their header, or are no rule where the rule has to be."""
    wrong = []
    for (first, header), *rest in tables(text):
        rule = rest[0][1] if rest else []
        if not rule or not all(re.fullmatch(":?-{3,}:?", cell) for cell in rule):
            wrong.append(first)
        wrong += [number for number, cells in rest if len(cells) != len(header)]
    return wrong


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_every_row_of_a_table_has_the_cells_of_its_header(page):
    assert wrong_rows(page.read_text()) == []


def test_a_table_with_a_torn_header_is_found():
    torn = "| a | b |\n| c |\n| --- | ---: |\n| 1 | 2 |\n\n```\n| x |\n```\n\n| a | b \\| c |\n| --- | --- |\n| 1 |\n"
    assert wrong_rows(torn) == [1, 2, 12]
