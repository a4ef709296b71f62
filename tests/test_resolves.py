"""Can a stranger install this? Asked of the public index's metadata alone, for machines that this one is not.

No local wheels and nothing built: `uv pip compile` resolves, and downloads no package. It mostly waits for the index:
so what one question fetched is kept for the next ones, and the index is asked again only where that does not do.
"""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.network

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PLATFORMS = (
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "aarch64-apple-darwin",
    "x86_64-pc-windows-msvc",
)
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
HOW = ("constraints", "newest", "lowest")
Resolved = tuple[dict[str, str], str]


def resolve(
    cache: Path,
    platform: str,
    python: str,
    *,
    lowest: bool = False,
    constraints: Path | None = None,
    extras: bool = True,
) -> Resolved:
    """The version of each package that would be installed, by name, and what uv said if there is none."""
    from uv import find_uv_bin

    command = [
        find_uv_bin(),
        "pip",
        "compile",
        "--cache-dir",
        str(cache),
        "--no-config",
        "--no-build",
        "--no-header",
        "--no-annotate",
    ]
    command += ["--default-index", "https://pypi.org/simple", "--python-platform", platform, "--python-version", python]
    command += ["--resolution", "lowest-direct" if lowest else "highest", *(["--all-extras"] if extras else [])]
    command += ["-c", str(constraints)] if constraints else []
    local = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    local["MACOSX_DEPLOYMENT_TARGET"] = "14.0"  # the oldest that torch has wheels for
    for more in (["--offline"], []):  # an answer from a part of the metadata is an answer; "none" is not
        done = subprocess.run([*command, *more, "pyproject.toml"], cwd=ROOT, env=local, capture_output=True, text=True)
        if done.returncode == 0:
            break
    found = dict(re.findall(r"^([\w.-]+)==([\w.+]+)", done.stdout, re.M)) if done.returncode == 0 else {}
    return found, done.stderr


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("metadata")


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("how", HOW)
def test_a_stranger_can_install_it(how, platform, python, cache):
    constraints = ROOT / "constraints.txt" if how == "constraints" else None
    found, said = resolve(cache, platform, python, lowest=how == "lowest", constraints=constraints)
    assert "torch" in found, said


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_pin_of_the_wrong_triton_is_found(platform, cache, tmp_path):
    """torch's Linux wheels want one version of triton: a pin of another is what no stranger's pip can follow."""
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    wrong = tmp_path / "constraints.txt"
    wrong.write_text(re.sub(r"^triton==[\d.]+", "triton==3.9.0", pins, flags=re.M), encoding="utf-8")
    found, said = resolve(cache, platform, "3.12", constraints=wrong)
    assert bool(found) != (platform == "x86_64-unknown-linux-gnu"), said
    assert bool(found) or "triton" in said


@pytest.mark.parametrize("extras", [False, True], ids=["plain", "extras"])
def test_every_lower_bound_is_one_that_is_taken(extras, tmp_path):
    """A bound below what the others allow was never tried. On Python 3.11, for which there are the oldest wheels."""
    from packaging.requirements import Requirement
    from packaging.version import Version

    declared = [*PROJECT["dependencies"]]
    if extras:
        declared += [one for extra in PROJECT["optional-dependencies"].values() for one in extra]
    found, said = resolve(tmp_path, "x86_64-unknown-linux-gnu", "3.11", lowest=True, extras=extras)
    assert found, said
    bounds: dict[str, Version] = {}
    for requirement in map(Requirement, declared):
        name, [bound] = requirement.name.replace("_", "-").lower(), list(requirement.specifier)
        bounds[name] = max(Version(bound.version), bounds.get(name, Version("0")))
    taken = {name: Version(found[name]) for name in bounds}
    assert taken == bounds
