#!/usr/bin/env bash
# Tests the shell scripts: they remove and overwrite no folder that they did not make, work in folders with odd names,
# find the project whatever CDPATH says, refuse downloads with another hash, and leave no temporary folder behind.
# Downloads less than 1 MB; apt-get, dpkg, cargo and gfpq are stand-ins.
# Usage: tests/scripts/run.sh
set -uo pipefail

CDPATH='' cd -- "$(dirname -- "$0")/../.." || exit 1
root=$PWD
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
export TMPDIR=$scratch/tmp CARGO_TARGET_DIR=$scratch/target
export PATH=$root/tests/scripts/stand_ins:$PATH
mkdir -p "$TMPDIR" "$CARGO_TARGET_DIR/release"
cp tests/scripts/stand_ins/gfpq "$CARGO_TARGET_DIR/release/gfpq"
passed=0
failed=0

# Usage: check WHAT COMMAND…
check() {
  local what=$1
  shift
  if "$@" > "$scratch/check.log" 2>&1; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED: $what" >&2
    sed 's/^/  /' "$scratch/check.log" >&2
  fi
}

# A folder with somebody's file. Usage: foreign FOLDER
foreign() { mkdir -p -- "$1" && echo work > "$1/thesis.txt"; }

# Succeeds if a script fails with one line that says what to do, and leaves all files below FOLDER as they are.
# Usage: refuses FOLDER SCRIPT ARGUMENT…
refuses() {
  local folder=$1
  shift
  cp -a -- "$folder" "$scratch/before"
  "$@" > "$scratch/output" 2>&1
  local status=$?
  diff -r --no-dereference "$scratch/before" "$folder" && cat "$scratch/output" && [ "$status" -ne 0 ] &&
    [ "$(wc -l < "$scratch/output")" -eq 1 ] && grep -q 'name another' "$scratch/output"
  status=$?
  rm -rf -- "$scratch/before"
  return "$status"
}

# Nothing but the given names is in a folder, and nothing in the folder for temporary files.
# Usage: only FOLDER NAME…
only() {
  local folder=$1
  shift
  diff <(ls -A -- "$folder") <([ $# -eq 0 ] || printf '%s\n' "$@") && diff <(ls -A -- "$TMPDIR") /dev/null
}

foreign_folders_stay() {
  local script
  for script in get_caffe cuda_toolkit; do
    foreign "$scratch/$script/mine"
    check "$script.sh refuses a folder with files" \
      refuses "$scratch/$script" "scripts/fetch/$script.sh" "$scratch/$script/mine"
    check "$script.sh leaves nothing behind" only "$scratch/$script" mine
  done
  foreign "$scratch/prototxts"
  check "get_prototxts.sh leaves an existing folder alone" scripts/fetch/get_prototxts.sh "$scratch/prototxts"
  check "get_prototxts.sh writes nothing there" only "$scratch/prototxts" thesis.txt

  foreign "$scratch/steps/test"
  for script in scripts/test.sh scripts/test_gpu_build.sh; do
    CARGO_TARGET_DIR=$scratch/steps check "$script refuses a folder target/test of others" \
      refuses "$scratch/steps" "$script" no_step
  done
  foreign "$CARGO_TARGET_DIR/fuzz/prototxt.files"
  check "fuzz.sh runs" scripts/fuzz.sh prototxt 1
  check "fuzz.sh removes only its own folder" only "$CARGO_TARGET_DIR/fuzz" artifacts prototxt prototxt.files
  check "fuzz.sh keeps the files" only "$CARGO_TARGET_DIR/fuzz/prototxt.files" thesis.txt
}

compat_trees() {
  local caffe=$scratch/trees/caffe
  mkdir -p "$caffe/src" "$caffe/include"
  echo 'all:' | tee "$caffe/Makefile" > "$caffe/Makefile.config"
  check "compat_tree.sh refuses its own source" refuses "$caffe" scripts/checks/compat_tree.sh "$caffe" "$caffe"
  check "compat_tree.sh refuses a folder in its source" refuses "$caffe" scripts/checks/compat_tree.sh "$caffe" "$caffe/out"
  check "compat_tree.sh refuses a folder around its source" \
    refuses "$scratch/trees" scripts/checks/compat_tree.sh "$caffe" "$scratch/trees"
  foreign "$scratch/trees/mine"
  check "compat_tree.sh refuses a folder of others" \
    refuses "$scratch/trees" scripts/checks/compat_tree.sh "$caffe" "$scratch/trees/mine"

  local odd="$scratch/trees/a b&c|d" run
  for run in first second; do
    check "compat_tree.sh makes its folder, the $run time" scripts/checks/compat_tree.sh "$caffe" "$odd"
    check "the tree has the compatibility edit" grep -q compatible "$odd/Makefile"
  done
  cp -a "$odd" "$scratch/trees/copy"
  check "compat_tree.sh refuses a copy of its folder" \
    refuses "$scratch/trees" scripts/checks/compat_tree.sh "$caffe" "$scratch/trees/copy"
  check "compat_tree.sh leaves nothing behind" only "$scratch/trees" "a b&c|d" caffe copy mine
}

packages() {
  foreign "$scratch/out/GFPQLibs"
  check "package.sh refuses a GFPQLibs of others" refuses "$scratch/out" scripts/package.sh "$scratch/out"
  rm -r "$scratch/out/GFPQLibs"
  echo archive > "$scratch/out/GFPQLibs.tgz"
  check "package.sh refuses an archive of others" refuses "$scratch/out" scripts/package.sh "$scratch/out"
}

odd_paths() {
  local cuda="$scratch/cuda/a b&c"
  check "cuda_toolkit.sh unpacks into a folder with an odd name" scripts/fetch/cuda_toolkit.sh "$cuda"
  check "nvcc starts from there" test "$("$cuda/bin/nvcc" "x y")" = "nvcc: x y"
  mv "$cuda" "$scratch/cuda/moved"
  check "nvcc starts from where the folder was moved" test "$("$scratch/cuda/moved/bin/nvcc" z)" = "nvcc: z"
  # shellcheck disable=SC2016 # $(_HERE_) is nvcc's.
  check "nvcc's profile names no folder of this machine" \
    diff "$scratch/cuda/moved/usr/lib/nvidia-cuda-toolkit/bin/nvcc.profile" <(printf '%s\n' \
      'NVVMIR_LIBRARY_DIR = $(_HERE_)/../../../lib/nvidia-cuda-toolkit/libdevice' \
      'INCLUDES += "-I$(_HERE_)/../../../include" $(_SPACE_)' \
      'LIBRARIES =+ $(_SPACE_) "-L$(_HERE_)/../../../lib/x86_64-linux-gnu"')
  check "cuda_toolkit.sh leaves nothing behind" only "$scratch/cuda" moved
  check "cuda_toolkit.sh refuses a path that gcc cannot link from" \
    refuses "$scratch/cuda" scripts/fetch/cuda_toolkit.sh "$scratch/cuda/a|b"

  check "get_caffe.sh unpacks into a folder with an odd name" scripts/fetch/get_caffe.sh "$scratch/caffe/a b&c|d"
  check "the source is there" test -e "$scratch/caffe/a b&c|d/Makefile"
  check "get_caffe.sh leaves nothing behind" only "$scratch/caffe" "a b&c|d"
}

# With a CDPATH that has folders of the same names, a script with a relative path must still change into this project.
cdpath() {
  mkdir -p "$scratch/elsewhere/"{scripts,tests}/{build,checks,fetch,scripts,swap} "$scratch/elsewhere/.ci"
  local script line
  while read -r script; do
    line=$(grep -E 'cd .*dirname' "$script")
    # shellcheck disable=SC2016 # For the inner shell.
    [ -z "$line" ] || CDPATH=$scratch/elsewhere check "$script does not follow CDPATH" \
      bash -c "${line%%||*}"' && [[ $PWD/ == "$1"/* ]]' "$script" "$root"
  done < <(find scripts tests .ci -name '*.sh' -o -path .ci/run)
}

downloads() {
  local script
  # shellcheck source=scripts/fetch/wheels.sh
  source scripts/fetch/wheels.sh
  mkdir "$scratch/wheels"
  local zeros=0000000000000000000000000000000000000000000000000000000000000000
  check "a wheel with another hash is refused" eval "! download_wheels $scratch/wheels <<< \
    'nnieqat==0.1.0b0 --hash=sha256:$zeros' && grep -q $zeros $scratch/check.log"
  check "a wheel without a hash is refused" eval "! download_wheels $scratch/wheels <<< 'nnieqat==0.1.0b0'"
  check "nothing of it is kept" only "$scratch/wheels"
  check "vendor.sh downloads the library" scripts/vendor.sh
  check "the library is there" test -s "$CARGO_TARGET_DIR/vendor/libgfpq.so.1"
  check "vendor.sh leaves nothing behind" only "$CARGO_TARGET_DIR/vendor" libgfpq.so.1

  rm -r "$CARGO_TARGET_DIR/vendor"
  for script in scripts/vendor.sh scripts/fetch/nvrtc.sh; do
    PIP_NO_INDEX=1 PIP_FIND_LINKS=$TMPDIR check "$script fails without its packages" eval "! $script"
  done
  check "a failed vendor.sh leaves nothing behind" only "$CARGO_TARGET_DIR/vendor"
  check "a failed nvrtc.sh leaves nothing behind" only "$CARGO_TARGET_DIR/nvrtc"
}

foreign_folders_stay
compat_trees
packages
odd_paths
cdpath
downloads
check "no script left a temporary folder behind" only "$TMPDIR"
echo "scripts: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
