#!/usr/bin/env bash
# Makes .venv in the project's folder hold what a lock file names: scripts/bootstrap.sh requirements.txt
# With a second argument, another environment than .venv: for tools that the project itself does not import.
# Says nothing and returns at once when it does already. Everything it says goes to standard error.
set -euo pipefail
root=$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/${2:-.venv}
lock=${1:?the name of a lock file}
[[ -f $root/$lock ]] || { echo "quickbg: there is no $lock in $root" >&2 && exit 1; }
# Written last; the folder is part of it, because a moved environment has wrong paths inside.
stamp=$venv/.installed-${lock##*/}
wanted="$root $(cksum <"$root/$lock")"
# Stands in an environment for as long as it is being changed: one that was interrupted is made anew.
unfinished=$venv/.unfinished
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

say() { printf 'quickbg: %s\n' "$*" >&2; }

die() {
  say "$*"
  exit 1
}

is_current() {
  [[ -f $stamp && ! -e $unfinished && "$(<"$stamp")" == "$wanted" ]] && "$venv/bin/python" -c '' 2>/dev/null
}

is_sound() {
  [[ ! -e $unfinished ]] || return 1
  # The stamp of another folder: this environment was moved or copied here.
  for other in "$venv"/.installed-*; do
    [[ ! -f $other || "$(<"$other")" == "$root "* ]] || return 1
  done
  "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  local candidate
  for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

make_environment() {
  local python
  rm -rf -- "$venv"
  say "Making a Python environment in $venv ..."
  if python=$(find_python) && "$python" -m venv "$venv" >/dev/null 2>&1; then
    return
  fi
  rm -rf -- "$venv"
  if command -v uv >/dev/null; then
    uv venv --quiet --python "${python:->=3.11}" "$venv" >&2 && return
    die "uv could not make a Python environment; the lines above say why."
  fi
  [[ -n $python ]] || die "Python 3.11 or newer is needed, and was not found."
  die "$python cannot make an environment: install its venv module (Debian, Ubuntu: apt install python3-venv)."
}

# Without dependencies: the lock names them all, but for one that is left out on purpose (OpenVINO's telemetry).
install_packages() {
  local quiet=--quiet
  [[ ! -t 2 ]] || quiet=
  if command -v uv >/dev/null; then
    uv pip install $quiet --python "$venv/bin/python" --no-deps --require-hashes -r "$root/$lock" >&2 && return
    say "uv could not install the packages; trying pip ..."
  fi
  # Its warnings are of interest only when it fails.
  local errors=$root/var/pip.err
  if ! "$venv/bin/python" -m pip install --no-input --no-deps --require-hashes -r "$root/$lock" 2>"$errors" | show_progress; then
    tail -n 20 "$errors" >&2
    die "The packages could not be installed; the lines above say why."
  fi
  rm -f -- "$errors"
}

# What pip says at length, as one line that moves on a terminal, or a line for every 100 MB. Its errors go another way.
show_progress() {
  local terminal=0
  [[ ! -t 2 ]] || terminal=1
  awk -v terminal=$terminal '
    BEGIN { next_line = 50 }
    /^Collecting / { packages++ }
    /^ *(Downloading|Using cached) / && !/\.metadata/ {
      size = $(NF - 1)
      sub(/\(/, "", size)
      megabytes += $NF ~ /MB/ ? size : size / 1000
      if (terminal) printf "\r\033[Kquickbg:   %d packages, %.0f MB", packages, megabytes
      else if (megabytes >= next_line) {
        printf "quickbg:   %d packages, %.0f MB ...\n", packages, megabytes
        next_line = megabytes + 100
      }
      fflush()
    }
    /^Installing collected/ {
      printf "%squickbg:   %d packages, %.0f MB; unpacking them ...\n", terminal ? "\r\033[K" : "", packages, megabytes
      fflush()
    }' >&2
}

# The project itself is a path and not a package: nothing is built, and no build tool has to be fetched.
link_project() {
  local packages
  packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  # Relative to that folder, so that no name of a folder above ours has to be spelt in some encoding.
  echo ../../../../backend >"$packages/quickbg.pth"
}

is_current && exit
[[ -w $root ]] || die "$root belongs to another user: clone the project to a folder of your own."
mkdir -p -- "$root/var"
exec 9>"$root/var/bootstrap.lock"
if command -v flock >/dev/null && ! flock -n 9; then
  say "Another call is setting up; waiting for it ..."
  flock 9
fi
is_current && exit
is_sound || make_environment
: >"$unfinished"
say "Installing the packages of $lock (once; it may take a minute) ..."
install_packages
[[ -n ${2:-} ]] || link_project
printf '%s\n' "$wanted" >"$stamp"
rm -f -- "$unfinished"
