#!/usr/bin/env bash
# Installs what is missing, with apt when root; otherwise says the one command to run.
# build: C compiler and cmake (zlib-ng, aws-lc). test: PostgreSQL, for the store and end-to-end tests, and Python with
# the packages of tests/oracle, in an environment of their own below target/.
set -euo pipefail
cd "$(dirname "$0")/../.."

packages=() oracle=
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
      python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3 python3-venv)
      oracle=target/oracle
      ;;
    *) echo "deps.sh: unknown group $group" >&2; exit 2 ;;
  esac
done

command -v cargo >/dev/null || { echo "Rust is missing: see https://rustup.rs" >&2; exit 1; }
if [ ${#packages[@]} -eq 0 ]; then
  :
elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
else
  echo "Missing: ${packages[*]}. Run this once, then try again:" >&2
  echo "  sudo apt-get update && sudo apt-get install -y ${packages[*]}" >&2
  exit 1
fi

# Complete once its list of packages is the repository's: an interrupted installation is made anew.
if [ -n "$oracle" ] && ! cmp -s tests/oracle/requirements.txt "$oracle/installed.txt"; then
  echo "installing the Python packages of tests/oracle"
  rm -rf "$oracle"
  python3 -m venv "$oracle"
  "$oracle/bin/pip" install -q --disable-pip-version-check -r tests/oracle/requirements.txt ||
    { echo "tests/oracle needs Python 3.10 or newer and a package index that pip can reach" >&2; exit 1; }
  cp tests/oracle/requirements.txt "$oracle/installed.txt"
fi
