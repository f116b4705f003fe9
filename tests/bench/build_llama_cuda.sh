#!/bin/sh
# build_llama_cuda: llama.cpp with CUDA from the source package of llama-cpp-python, for one architecture, into one folder that can be taken
# to a machine that has a GPU and no network. Needs nvcc, cmake (both may come from pip), python3 with pip, and no GPU.
#
#   tests/bench/build_llama_cuda.sh FOLDER                  40-90 minutes on 2 cores, about 5 on 16
#   tests/bench/build_llama_cuda.sh FOLDER --configure      only until CMake has found everything
#
# then, there:  make gpu-check ARGS="--llama FOLDER"       (or FOLDER.tar.gz, which is written beside it)
#
# LLAMA_ARCH   the architecture (default 90: H100, H200)          LLAMA_SDIST   a source package that was downloaded before
# JOBS         compilers at a time (default: the processors)      PYTHON        whose pip is used (default python3)
#
# Attention kernels for quantized caches are left out, and those of other architectures: that is what keeps it small (device.run carries 64 MB). It does not depend on the
# version of Python; numpy comes from the machine where it runs, CUDA's libraries too.
set -e

VERSION=0.3.36
to=${1:?usage: build_llama_cuda.sh FOLDER [--configure]}
PYTHON=${PYTHON:-python3}
JOBS=${JOBS:-$(nproc)}
mkdir -p "$to"
to=$(cd "$to" && pwd)
work="$to.build"
mkdir -p "$work"

nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc /usr/local/cuda-*/bin/nvcc 2>/dev/null | head -1)
[ -x "$nvcc" ] || { echo "build_llama_cuda: there is no nvcc (PATH, /usr/local/cuda*/bin)" >&2; exit 1; }

if [ -z "$LLAMA_SDIST" ]; then
    LLAMA_SDIST="$work/llama_cpp_python-$VERSION.tar.gz"
    [ -s "$LLAMA_SDIST" ] || "$PYTHON" -m pip download -q --no-deps --no-binary llama-cpp-python -d "$work" "llama-cpp-python==$VERSION"
fi
rm -rf "$work/source"
mkdir -p "$work/source"
tar -xzf "$LLAMA_SDIST" -C "$work/source" --strip-components=1

# The toolkit's stub of the driver is enough to link with. Shared libraries beside each other, found by their own folder.
cmake -S "$work/source/vendor/llama.cpp" -B "$work/cmake" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON '-DCMAKE_INSTALL_RPATH=$ORIGIN' \
    -DGGML_CUDA=ON -DCMAKE_CUDA_COMPILER="$nvcc" -DCMAKE_CUDA_ARCHITECTURES="${LLAMA_ARCH:-90}" -DGGML_CUDA_FA_ALL_QUANTS=OFF -DGGML_CUDA_NCCL=OFF \
    -DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_COMMON=OFF
[ "$2" = --configure ] && { echo "build_llama_cuda: configured in $work/cmake"; exit 0; }
nice cmake --build "$work/cmake" -j "$JOBS" --target llama

# Links do not travel: each library once, under the name that the others ask for; the plain names, which llama_cpp opens, are small copies.
rm -rf "$to/llama_cpp"
cp -r "$work/source/llama_cpp" "$to/llama_cpp"
lib="$to/llama_cpp/lib"
mkdir -p "$lib"
find "$work/cmake" -name 'lib*.so*' -type f | while read -r f; do
    soname=$(objdump -p "$f" | awk '/SONAME/ { print $2 }')
    strip -o "$lib/${soname:-$(basename "$f")}" "$f"
done
for name in llama ggml ggml-base mtmd; do
    for f in "$lib/lib$name.so".*; do
        if [ -e "$f" ]; then cp "$f" "$lib/lib$name.so"; fi
    done
done
"$PYTHON" -m pip install -q --no-deps --target "$to" --upgrade diskcache typing_extensions jinja2
"$PYTHON" -m pip install -q --no-deps --target "$to" --upgrade --platform manylinux2014_x86_64 --python-version 3.12 --only-binary=:all: markupsafe

tar -C "$to" -czf "$to.tar.gz" .
rm -rf "$work"
du -sh "$to" "$to.tar.gz"
