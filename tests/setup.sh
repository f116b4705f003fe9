#!/bin/sh
# setup: installs what the full test suite needs, on Debian and Ubuntu. Quick when everything is there; needs root only to install.
# The library itself needs none of this: a C compiler is enough.
set -e

packages=""
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
need() {    # need <test that succeeds when it is there> <package>...
    test="$1"; shift
    if ! sh -c "$test" >/dev/null 2>&1; then packages="$packages $*"; fi
}
links() {   # links <compiler> <flags>: can it make a program with these flags?
    printf 'echo "int main(void){return 0;}" | %s -x c - -o %s/a' "$*" "$scratch"
}

need "command -v make" make
need "command -v nm" binutils
need "$(links gcc)" gcc libc6-dev
need "command -v g++" g++
need "$(links clang)" clang
need "$(links clang -fsanitize=address,undefined)" clang 'libclang-rt-*-dev'
need "$(links clang -fsanitize=fuzzer-no-link,address)" clang 'libclang-rt-*-dev'
need "$(links gcc -fsanitize=address,undefined)" gcc
need "command -v python3" python3
need "python3 -m pip --version" python3-pip
need "python3 -c 'import venv, ensurepip'" python3-venv
need "$(links aarch64-linux-gnu-gcc)" gcc-aarch64-linux-gnu libc6-dev-arm64-cross
need "command -v x86_64-w64-mingw32-gcc" gcc-mingw-w64-x86-64-win32
need "command -v qemu-aarch64 || command -v qemu-aarch64-static" qemu-user

# the machines of tests/gates/machines.py (gcc-multilib would not go with the cross compilers: its parts do)
need "$(links arm-linux-gnueabihf-gcc)" gcc-arm-linux-gnueabihf libc6-dev-armhf-cross
need "$(links riscv64-linux-gnu-gcc)" gcc-riscv64-linux-gnu libc6-dev-riscv64-cross
need "$(links s390x-linux-gnu-gcc)" gcc-s390x-linux-gnu libc6-dev-s390x-cross
need "$(links gcc -m32)" 'lib32gcc-*-dev' libc6-dev-i386
need "$(links musl-gcc)" musl-tools
need "$(links tcc)" tcc
need "command -v i686-w64-mingw32-gcc" gcc-mingw-w64-i686-win32
need "command -v wine" wine wine64
need "command -v emcc" emscripten
need "command -v node" nodejs

# two ranks of examples/train_mpi.c
need "command -v mpicc && command -v mpirun" openmpi-bin libopenmpi-dev

# the picture of a run is looked at in a browser
need "command -v chromium-headless-shell || command -v chromium" chromium-headless-shell

if [ -z "$packages" ]; then
    echo "setup: everything that the full test suite needs is here"
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: this is not a Debian system. Please install what these Debian packages hold:$packages" >&2
    exit 1
fi

# On Debian the run-time of clang's sanitizers is a package with clang's version in its name.
if printf '%s' "$packages" | grep -q 'libclang-rt'; then
    version=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p' | head -1)
    packages=$(printf '%s' "$packages" | sed "s/libclang-rt-\*-dev/libclang-rt-${version:-14}-dev/g")
fi
if printf '%s' "$packages" | grep -q 'lib32gcc'; then
    packages=$(printf '%s' "$packages" | sed "s/lib32gcc-\*-dev/lib32gcc-$(gcc -dumpversion | cut -d. -f1)-dev/g")
fi
packages=$(printf '%s\n' $packages | sort -u | tr '\n' ' ')

if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        root="sudo"
    else
        echo "setup: missing: $packages" >&2
        echo "setup: not root, so nothing was installed. This does it:" >&2
        echo "    sudo apt-get install -y --no-install-recommends $packages" >&2
        exit 1
    fi
fi
echo "setup: installing $packages"
export DEBIAN_FRONTEND=noninteractive
$root apt-get update -qq
$root apt-get install -y -qq --no-install-recommends $packages >/dev/null
echo "setup: done"
