#!/usr/bin/env python3
"""Builds the emulated GPU: three stand-in libraries with the real names, in one folder.

  python3 tests/emu/build.py --to build/emu
  LD_LIBRARY_PATH=build/emu ./program            (a program that opens the CUDA driver, NVRTC and cuBLAS at run time)

Nothing is compiled when the sources have not changed.
"""
import argparse, hashlib, os, shutil, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
LIBRARIES = [                       # soname, sources, more arguments
    ("libcuda.so.1", ["driver.cpp", "device.cpp", "check.cpp"], ["-Wl,-z,nodelete"]),
    ("libnvrtc.so.13", ["nvrtc.cpp"], []),
    ("libnvrtc-builtins.so.13.0", [], []),
    ("libcublasLt.so.13", [], []),
    ("libcublas.so.13", ["cublas.cpp"], ["-l:libcuda.so.1", "-Wl,-rpath,$ORIGIN"]),
]
FLAGS = ["-std=c++17", "-O2", "-g1", "-Wall", "-Wextra", "-Wshadow", "-fPIC", "-shared", "-fvisibility=hidden",
         "-fno-strict-aliasing", "-U_FORTIFY_SOURCE", "-ldl", "-lpthread"]


def fingerprint(compiler):
    digest = hashlib.sha256(repr((compiler, LIBRARIES, FLAGS)).encode())
    for name in sorted(os.listdir(HERE)):
        if name.endswith((".cpp", ".h")) and name != "selftest.cpp":
            with open(os.path.join(HERE, name), "rb") as file:
                digest.update(name.encode() + file.read())
    return digest.hexdigest()


def build(to, compiler=None, quiet=False):
    compiler = compiler or os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++") or "c++"
    os.makedirs(to, exist_ok=True)
    stamp, now = os.path.join(to, "stamp"), fingerprint(compiler)
    if os.path.exists(stamp) and open(stamp).read() == now:
        return
    for name, sources, more in LIBRARIES:
        native = ["-march=native"] if subprocess.run([compiler, "-march=native", "-E", "-x", "c++", os.devnull],
                                                     capture_output=True).returncode == 0 else []
        temporary = os.path.join(to, name + ".new")
        files = [os.path.join(HERE, s) for s in sources] or [os.devnull]
        command = [compiler] + FLAGS[:-2] + native + ["-x", "c++"] + files
        command += ["-x", "none", "-Wl,-soname," + name, "-L" + to, "-o", temporary] + more + FLAGS[-2:]
        if subprocess.run(command).returncode:
            sys.exit("build.py: cannot build " + name)
        os.replace(temporary, os.path.join(to, name))
    for name in ("shim.h", "abi.h"):
        shutil.copyfile(os.path.join(HERE, name), os.path.join(to, name))
    shutil.rmtree(os.path.join(to, "cache"), ignore_errors=True)
    with open(stamp, "w") as file:
        file.write(now)
    if not quiet:
        print("emulator built in " + to)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", default="build/emu", help="folder for the libraries")
    parser.add_argument("--compiler", help="C++ compiler (default: $CXX, g++, clang++)")
    options = parser.parse_args()
    build(options.to, options.compiler)
