"""Files that other tools read: .gitignore, CITATION.cff, the CI workflow, the pre-commit hooks."""

import os
import shlex
import shutil
import subprocess
import tomllib

import pytest
import yaml


@pytest.fixture(scope="module")
def project(root) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [(".venv", "folder"), (".venv", "link"), (".venv-vllm", "link"), ("build", "folder")],
)
def test_environments_are_ignored(root, tmp_path, name, kind):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    shutil.copy(root / ".gitignore", tmp_path)
    place = tmp_path / "elsewhere" if kind == "link" else tmp_path / name
    place.mkdir()
    (place / "file").touch()
    if kind == "link":
        (tmp_path / name).symlink_to(place)
    # variables of a hook would point git at another repository
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", "-C", str(tmp_path), "status", "--porcelain", "--untracked-files=all"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    seen = {line.split()[-1] for line in done.stdout.splitlines()}
    assert seen == {".gitignore"} | ({"elsewhere/file"} if kind == "link" else set())


def test_the_citation_fits_the_project(root, project):
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0" and citation["message"] and citation["authors"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    (paper,) = citation["references"]
    assert paper["url"] == project["urls"]["Paper"]
    assert paper["title"] and paper["type"] and paper["authors"]


def test_the_ci_workflow_runs_the_same_script_as_any_machine(root):
    workflow = yaml.safe_load((root / ".github/workflows/ci.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert "3.11" in job["strategy"]["matrix"]["python"]
    assert os.access(root / ".ci/run", os.X_OK)


def test_the_hooks_run_the_locked_tools(root):
    (repository,) = yaml.safe_load((root / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    tools = [shlex.split(hook["entry"])[0] for hook in repository["hooks"]]
    assert tools == [f".venv/bin/{name}" for name in ("ruff", "ruff", "snakefmt", "mypy")]
    locked = (root / "envs/base.lock").read_text()
    assert all(f"\n{name}==" in locked for name in ("ruff", "snakefmt", "mypy"))


def test_the_workflow_catalog_finds_what_it_wants(root):
    usage = yaml.safe_load((root / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["mandatory-flags"]["desc"]
    assert set(usage["software-stack-deployment"]) >= {"conda", "apptainer", "report"}
    assert (root / "workflow/Snakefile").is_file() and (root / "config/README.md").is_file()
