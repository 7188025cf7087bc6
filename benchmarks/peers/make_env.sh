#!/usr/bin/env bash
# Makes the environment of one peer under .peers/, from the pins beside this file: a few minutes, about 1 GB.
# usage: benchmarks/peers/make_env.sh rectools|replay      (PYTHON=... for an interpreter of Python 3.11)
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
case "${1:-}" in
  rectools) wanted='rectools[torch]' ;;
  replay) wanted='replay-rec[torch]' ;;
  *) echo "usage: $0 rectools|replay (got '${1:-}')" >&2; exit 2 ;;
esac
peers="$here/../../.peers"
mkdir -p "$peers"
echo '*' > "$peers/.gitignore"
"${PYTHON:-python3.11}" -m venv "$peers/$1"
# torch by its exact version first, so that nothing else chooses the build.
"$peers/$1/bin/python" -m pip install -q --disable-pip-version-check -c "$here/$1.txt" torch==2.13.0
"$peers/$1/bin/python" -m pip install -q --disable-pip-version-check -c "$here/$1.txt" "$wanted"
echo "made $(cd "$peers/$1" && pwd)"
