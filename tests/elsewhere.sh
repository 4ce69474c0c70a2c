#!/usr/bin/env bash
# A copy of this working tree in a path with spaces and with the project's own name in it: set up
# there, then whatever starts a program, quotes a path or reads one is tested, in homes with spaces.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
there="$root/all of isorate/a clone"
mkdir -p "$there"
git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf - | tar -xf - -C "$there"
cd "$there"
make PYTHON="${PYTHON:-python3}" install
make --dry-run demo test mlflow > /dev/null
.venv/bin/isorate plan experiment=demo
.venv/bin/python -m pytest -n 2 --dist loadfile -p no:cacheprovider --basetemp "$root/of its tests" \
  tests/launchers tests/security tests/sweeper/cli tests/sweeper/worker tests/sweeper/results \
  tests/sweeper/stages/test_convert.py
