#!/usr/bin/env bash
# The list of parts (SBOM) of what a lock file names, as CycloneDX JSON: scripts/sbom.sh [LOCK] >sbom.json
set -euo pipefail
cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
unset PYTHONHOME PYTHONPATH
scripts/bootstrap.sh requirements-dev.txt
# It warns that it does not know which of the packages we asked for ourselves.
exec .venv/bin/python -W ignore -m cyclonedx_py requirements --pyproject pyproject.toml --output-reproducible "${1:-requirements.txt}"
