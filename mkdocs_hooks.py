"""The files of the site. Part of building the documentation alone (mkdocs.yml names it)."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
LINK = re.compile(r"\]\(([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Pages of the root and of docs/, each under its path in the repository, and whatever they link to.

    So a relative link is the same in the repository and on the site, wherever it leads: to a page, a board or a picture
    of results/, or a source file, which the site serves as it is. `--strict` finds the ones that lead nowhere.
    """
    root = Path(config.config_file_path).parent
    paths = reached([*map(root.joinpath, PAGES), *Path(config.docs_dir).glob("*.md")], root)
    ours = [File.generated(config, p.relative_to(root).as_posix(), abs_src_path=str(p)) for p in sorted(paths)]
    return Files([file for file in files if file.src_dir != config.docs_dir] + ours)  # the others are the theme's


def reached(pages: list[Path], root: Path) -> set[Path]:
    """The pages, and the files of the repository that they or the pages they link to name in a link."""
    found, todo = set(pages), list(pages)
    while todo:
        page = todo.pop()
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            path = (page.parent / target).resolve()
            if path.is_file() and path.is_relative_to(root) and path not in found:
                found.add(path)
                todo += [path] * (path.suffix == ".md")
    return found
