"""What comes from others, and that nothing of ours slips out with it: locks, licences, the list of parts, secrets."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.config import PROJECT_ROOT
from scripts.licences import PAGE, render
from tests.deploy.files import read

LOCKS = [*sorted(PROJECT_ROOT.glob("requirements*.txt")), PROJECT_ROOT / "scripts" / "bench" / "requirements.txt"]
PINNED = re.compile(r"([\w.-]+)(?:\[[\w,-]+\])?==([^\s;]+)(?: ; [^#]+?)?((?: --hash=sha256:[0-9a-f]{64})+)")
# What holds whoever passes a work on to its licence; LGPL leaves that to the library itself.
COPYLEFT = re.compile(r"\b(?<!L)A?GPL|SSPL|BUSL|Commons Clause|\bEUPL|\bCDDL")

# Kept apart here, so that this file does not find itself.
SECRETS = {
    "a private key": "-----BEGIN " + r"(?:[A-Z]+ )*PRIVATE KEY",
    "a key of AWS": r"\b(?:AKIA|ASIA)" + r"[0-9A-Z]{16}\b",
    "a token of GitHub": r"\b(?:gh[pousr]_" + r"[A-Za-z0-9]{36,}|github_pat_" + r"\w{22,})",
    "a token of GitLab": r"\bglpat-" + r"[\w-]{20,}",
    "a token of Slack": r"\bxox[abprs]-" + r"[\w-]{10,}",
    "a key of Google": r"\bAIza" + r"[\w-]{35}\b",
    "a key of Stripe": r"\b[rs]k_live_" + r"[A-Za-z0-9]{20,}",
    "a token of a package registry": r"\b(?:pypi-AgE" + r"[\w-]{30,}|npm_" + r"[A-Za-z0-9]{36})",
    "a JSON web token": r"\beyJ[\w-]{10,}\.eyJ" + r"[\w-]{10,}\.[\w-]{20,}",
    "a key of ours": r"\bqbg_" + r"[A-Za-z0-9]{8}_[A-Za-z0-9]{32,}",
    "a password in an address": r"\w://[\w.-]+:" + r"(?=[^@/\s]*\d)(?=[^@/\s]*[A-Za-z])[\w.-]{12,}@",
    "a value that is called a secret": r"(?i)(?:secret|password|passwd|token|api_?key)\w*[\"']?\s*[=:]\s*[\"']?"
    + r"(?=[\w+/-]*\d)(?=[\w+/-]*[A-Za-z])[\w+/-]{32,}",
}
GUESSES = {"a password in an address", "a value that is called a secret"}  # tests have many, for what they start
# Git ignores these; whoever made the folder has put them here.
OTHERS = {".git", ".venv", "var", "logs", "secrets", ".hypothesis", "node_modules", "__pycache__", "htmlcov"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(PROJECT_ROOT)))
def test_every_line_of_a_lock_is_a_version_with_hashes(lock: Path) -> None:
    text = re.sub(r"^\s*#.*\n|\s+#.*$", "", lock.read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    assert len(lines) > 5
    assert [line for line in lines if not PINNED.fullmatch(re.sub(r"\s+", " ", line).strip())] == []


def test_all_locks_are_installed_by_their_hashes() -> None:
    dockerfile = (PROJECT_ROOT / "Dockerfile").read_text()
    bootstrap = (PROJECT_ROOT / "scripts" / "bootstrap.sh").read_text()
    installs = [line for line in (dockerfile + bootstrap).splitlines() if re.search(r"pip.* install ", line)]
    assert len(installs) > 3
    assert [line for line in installs if "--require-hashes" not in line] == []


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the page is made by Python 3.11")
def test_the_page_of_licences_is_that_of_the_lock() -> None:
    assert PAGE.read_text() == render(), "python scripts/licences.py"


def test_each_package_says_a_licence_that_lets_us_use_it() -> None:
    rows = re.findall(r"^\| ([\w.-]+) \| \S+ \| (.*?) \| <(.*?)> \|$", PAGE.read_text(), re.MULTILINE)
    assert len(rows) > 50
    assert [row for row in rows if not row[1] or not row[2].startswith("http") or COPYLEFT.search(row[1])] == []


def test_the_list_of_parts_names_every_package(tmp_path: Path) -> None:
    lock = PROJECT_ROOT / "requirements.txt"
    done = subprocess.run([PROJECT_ROOT / "scripts" / "sbom.sh"], cwd=tmp_path, capture_output=True, check=True)

    parts = json.loads(done.stdout)  # whose form its maker has checked
    assert (parts["bomFormat"], parts["metadata"]["component"]["name"]) == ("CycloneDX", "quickbg")
    pins = re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;\\]+)", lock.read_text(), re.MULTILINE)
    assert len(pins) > 50
    assert {(part["name"], part["version"]) for part in parts["components"]} == set(pins)
    assert all(part["externalReferences"][0]["hashes"] for part in parts["components"])
    assert done.stderr == b""


def test_no_secret_lies_in_the_tree() -> None:
    texts = [path for path in _files(PROJECT_ROOT) if b"\0" not in path.read_bytes()[:4096]]
    assert len(texts) > 200
    assert [
        (str(path.relative_to(PROJECT_ROOT)), name)
        for path in texts
        for name, pattern in SECRETS.items()
        if not (name in GUESSES and PROJECT_ROOT / "tests" in path.parents)
        and re.search(pattern, path.read_text(errors="replace"))
    ] == []


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("a private key", "-----BEGIN OPENSSH " + "PRIVATE KEY-----"),
        ("a key of AWS", "AKIA" + "ABCDEFGHIJKLMNOP"),
        ("a token of GitHub", "ghp_" + "a1" * 18),
        ("a JSON web token", "eyJhbGciOiJIUzI1NiJ9" + "." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0" + "." + "x" * 43),
        ("a password in an address", "postgres://quickbg:" + "h4ckh4ckh4ck@db/x"),
        ("a value that is called a secret", 'SECRET_KEY="' + "0123456789abcdef" * 2 + '"'),
    ],
)
def test_a_secret_would_be_found(name: str, secret: str) -> None:
    assert re.search(SECRETS[name], f"x = {secret}\n")


def test_advisories_and_the_workflow_itself_are_looked_at() -> None:
    steps = [step for job in read(".github/workflows/ci.yml")["jobs"].values() for step in job["steps"]]
    used = {step["uses"].partition("@")[0]: step.get("with", {}) for step in steps if "uses" in step}
    audited = used["pypa/gh-action-pip-audit"]
    assert set(audited["inputs"].split()) == {"requirements.txt", "requirements-dev.txt"}
    assert (audited["require-hashes"], audited["no-deps"]) == (True, True)
    assert used["zizmorcore/zizmor-action"] == {"advanced-security": False}  # which would need to write


def _files(folder: Path) -> list[Path]:
    found = []
    for path in folder.iterdir():
        if path.name in OTHERS or path.name.endswith("_cache") or path.is_symlink():
            continue
        if path.is_dir():
            found += _files(path)
        elif path.name not in {".env", "compose.env"}:
            found.append(path)
    return found
