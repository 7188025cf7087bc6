#!/usr/bin/env bash
# Makes the environment of one peer under .peers/, from the pins beside this file: a few minutes, up to 2 GB.
# usage: benchmarks/peers/make_env.sh PEER
#   rectools, replay                            for benchmarks/training.py
#   recsim_ng, recsim, trecs, recogym, reclab   for benchmarks/simulators.py and benchmarks/leaks.py
# An interpreter of the version that a peer needs is looked for on the path and among pyenv's; PYTHON=... names one.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
peer="${1:-}"
needs=3.11
case "$peer" in
  rectools) wanted='rectools[torch]' ;;
  replay) wanted='replay-rec[torch]' ;;
  recsim_ng) needs=3.9 ;;
  recsim | reclab) needs=3.8 ;;
  trecs | recogym) ;;
  *)
    echo "usage: $0 rectools|replay|recsim_ng|recsim|trecs|recogym|reclab (got '$peer')" >&2
    exit 2
    ;;
esac
python="${PYTHON:-}"
for found in "python$needs" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$needs".*/bin/python; do
  if [ -z "$python" ] && "$found" -c '' 2> /dev/null; then python="$found"; fi
done
if [ -z "$python" ]; then
  echo "$peer: skipped, it needs Python $needs, which is not here; PYTHON=... names an interpreter" >&2
  exit 3
fi
peers="$here/../../.peers"
mkdir -p "$peers"
echo '*' > "$peers/.gitignore"
"$python" -m venv "$peers/$peer"
install() { "$peers/$peer/bin/python" -m pip install -q --disable-pip-version-check "$@"; }
case "$peer" in
  rectools | replay)
    # torch by its exact version first, so that nothing else chooses the build.
    install -c "$here/$peer.txt" torch==2.13.0
    install -c "$here/$peer.txt" "$wanted"
    ;;
  *)
    # Source packages of their years need older build tools; what they require of each other no longer resolves, so
    # that all pins are installed as they stand.
    install 'pip<25.1' 'setuptools<66' 'wheel<0.39'
    install --no-deps -r "$here/$peer.txt"
    ;;
esac
echo "made $(cd "$peers/$peer" && pwd)"
