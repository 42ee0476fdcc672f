#!/usr/bin/env bash
# Runs make in a Caffe tree on all cores and shows its progress. The output of make goes to target/make-TREE.log.
# Usage: scripts/build/build_caffe.sh CAFFE_ROOT TARGET…
set -euo pipefail

root=$(realpath -- "${1:?usage: scripts/build/build_caffe.sh CAFFE_ROOT TARGET…}")
shift
CDPATH='' cd -- "$(dirname -- "$0")/../.."

mkdir -p target
log=$PWD/target/make-$(basename -- "$root").log
start=$SECONDS
make -C "$root" -j"$(nproc)" "$@" > "$log" 2>&1 &
make=$!
trap 'kill "$make" 2> /dev/null' INT TERM

# The file that make is working on, from the last line of the log that names one.
current_file() { grep -aE '^(CXX|CXX/LD|LD|AR|NVCC|PROTOC|CP) ' "$log" | tail -n 1 | cut -c 1-70; }
[ -t 1 ] && every=1 || every=30
shown=0
while kill -0 "$make" 2> /dev/null; do
  if [ $((SECONDS - start - shown)) -ge "$every" ]; then
    shown=$((SECONDS - start))
    if [ -t 1 ]; then printf '\r%4d s  %-70s' "$shown" "$(current_file)"; else echo "  $shown s  $(current_file)"; fi
  fi
  sleep 0.5
done

[ ! -t 1 ] || printf '\r%79s\r' ''
if ! wait "$make"; then
  tail -n 40 "$log" >&2
  echo "build_caffe.sh: make $* failed in $root; the complete log is $log" >&2
  exit 1
fi
echo "make $*: done in $((SECONDS - start)) s"
