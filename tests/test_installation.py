"""One `pip install .` from the checkout installs orion and orion_kernels, each file once."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SHOW = """
import importlib.metadata, pathlib
import orion, orion_kernels
from orion.provenance import kernels_version
print(*(pathlib.Path(package.__file__).parent.parent for package in (orion, orion_kernels)))
print(orion_kernels.__version__ == kernels_version())
print(importlib.metadata.version("orion"))
"""


@pytest.fixture(scope="module")
def checkout(root, tmp_path_factory) -> Path:
    """A copy of the sources, since building leaves files beside them."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("orion", "kernels"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
        shutil.copytree(root / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, folder)
    return folder


def pip(*args: str) -> None:
    """Run pip without network: it fetches neither dependencies nor a build environment."""
    command = [sys.executable, "-m", "pip", *args, "--no-deps", "--no-build-isolation"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def list_package_files(folder: Path, name: str) -> set[str]:
    """The files of a package that its distribution must hold."""
    kinds = (".py", ".j2", ".jinja", ".typed", ".safetensors", ".json")
    files = folder.joinpath(name).rglob("*")
    return {str(path.relative_to(folder)) for path in files if path.suffix in kinds}


def list_wheel_files(folder: Path) -> list[str]:
    """The files of the only wheel in a folder, without its metadata."""
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return [name for name in archive.namelist() if ".dist-info/" not in name]


def test_an_installation_holds_both_packages_and_their_data(checkout, tmp_path):
    target = tmp_path / "installed"
    pip("install", "--target", str(target), str(checkout))
    env = {**os.environ, "PYTHONPATH": str(target)}
    done = subprocess.run(
        [sys.executable, "-c", SHOW], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[:2] == [f"{target} {target}", "True"], done.stderr
    assert (target / "orion/py.typed").is_file() and (target / "orion_kernels/py.typed").is_file()
    assert list((target / "orion/report").glob("*.html.j2"))


def test_a_wheel_holds_each_file_of_both_packages_once(checkout, tmp_path):
    pip("wheel", "--wheel-dir", str(tmp_path), str(checkout))
    wanted = list_package_files(checkout, "orion") | list_package_files(
        checkout / "kernels", "orion_kernels"
    )
    assert len(wanted) > 80
    assert sorted(list_wheel_files(tmp_path)) == sorted(wanted)


def test_the_kernels_can_be_built_alone(checkout, tmp_path):
    pip("wheel", "--wheel-dir", str(tmp_path), str(checkout / "kernels"))
    assert sorted(list_wheel_files(tmp_path)) == sorted(
        list_package_files(checkout / "kernels", "orion_kernels")
    )
