#!/usr/bin/env bash
# Installs what is missing, with apt when root; otherwise says the one command to run.
# build: C compiler and cmake (zlib-ng, aws-lc). test: PostgreSQL, for the store and end-to-end tests.
set -euo pipefail

packages=()
for group in "$@"; do
  case "$group" in
    build)
      command -v cc >/dev/null || packages+=(gcc libc6-dev)
      command -v c++ >/dev/null || packages+=(g++)
      command -v cmake >/dev/null || packages+=(cmake)
      command -v make >/dev/null || packages+=(make)
      ;;
    test)
      compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || packages+=(postgresql)
      ;;
    *) echo "deps.sh: unknown group $group" >&2; exit 2 ;;
  esac
done

command -v cargo >/dev/null || { echo "Rust is missing: see https://rustup.rs" >&2; exit 1; }
[ ${#packages[@]} -eq 0 ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
else
  echo "Missing: ${packages[*]}. Run this once, then try again:" >&2
  echo "  sudo apt-get update && sudo apt-get install -y ${packages[*]}" >&2
  exit 1
fi
