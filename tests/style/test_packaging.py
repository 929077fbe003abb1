from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from makeready import __version__, hiring
from makeready.documents.shipped import registry
from makeready.schema import sql_files

ROOT = Path(__file__).resolve().parents[2]
URL = re.compile(r"https?://(?!127\.0\.0\.1|localhost)", re.IGNORECASE)


def _python(code: str, python: str = sys.executable, cwd: Path = ROOT) -> str:
    environ = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    words = [python, "-c", code]
    done = subprocess.run(words, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_folder_http_never_shadows_the_standard_library() -> None:
    assert not (ROOT / "http" / "__init__.py").exists()
    assert not (ROOT / "tests" / "http" / "__init__.py").exists()
    assert "lib/python" in _python("import http.client; print(http.client.__file__)")


@pytest.mark.parametrize("lock", ["requirements.lock", "bin/npm.lock"])
def test_locked_dependencies_are_hashed_and_name_no_place(lock: str) -> None:
    text = (ROOT / lock).read_text("utf-8")
    pins = re.findall(r"^([a-z0-9._-]+)==\S+", text, flags=re.MULTILINE)

    assert pins
    assert URL.search(text) is None
    blocks = re.split(r"^(?=[a-z0-9._-]+==)", text, flags=re.MULTILINE)[1:]
    assert [block.split("==")[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_the_lock_satisfies_the_project() -> None:
    words = [sys.executable, "-m", "uv", "pip", "check", "--quiet"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(120)
def test_the_wheel_works_in_a_clean_environment(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "makeready/sql/000_schema.sql",
        "makeready/sql/ops/psqlrc",
        "makeready/document_types/invoice/template.html.j2",
        "makeready/document_types/scorecard/template.html.j2",
        "makeready/document_types/_shared/hiring.css",
        "makeready/document_types/_shared/hiring.schema.json",
        "makeready/hiring.py",
        "makeready_http/app.py",
        "makeready_workers/loop.py",
        "makeready/py.typed",
    ):
        assert needed in names
    assert not [name for name in names if name.startswith(("tests", "http/", "workers/"))]

    home = tmp_path / "env"
    venv.create(home, symlinks=True)
    [packages] = home.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    # Dependencies come from this environment, behind the wheel: nothing is fetched.
    dependencies = Path(pytest.__file__).parents[1]
    code = f"""
import sys
sys.path.append({str(dependencies)!r})
import makeready, makeready_http.app, makeready_workers.process, makeready_workers.render
from makeready.schema import sql_directory, sql_files
assert makeready.__file__.startswith({str(home)!r}), makeready.__file__
assert str(sql_directory()).startswith({str(home)!r}), sql_directory()
assert len(sql_files()) == {len(sql_files())}
from makeready import hiring
from makeready.documents.shipped import registry
assert len(registry()) == {len(registry())}
assert len(hiring.pack("Barista", "en")) == {len(hiring.DOCUMENTS)}
print(makeready.__version__)
"""
    assert _python(code, str(home / "bin" / "python"), tmp_path) == __version__
