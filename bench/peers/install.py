# Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0
"""Installs a peer's pinned packages into an environment in the user's cache folder.

usage: install.py attention|llama   prints the path of the environment's Python

llama.cpp is built from source for this machine (cmake, a C++ compiler and about ten
minutes of two cores). An environment that is complete is left alone, and one that was
complete for other requirements is brought up to date."""

import os
import pathlib
import shutil
import subprocess
import sys
import venv

HERE = pathlib.Path(__file__).resolve().parent


def cache() -> pathlib.Path:
    """The folder that Go's os.UserCacheDir names."""
    if sys.platform == "darwin":
        base = pathlib.Path.home() / "Library" / "Caches"
    elif os.name == "nt":
        base = pathlib.Path(os.environ["LocalAppData"])
    else:
        base = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    return base / "graphkv" / "peers"


def install(name: str) -> pathlib.Path:
    wanted = (HERE / f"requirements-{name}.txt").read_text()
    folder = cache() / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / "installed.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    if stamp.exists():  # for other requirements: only what differs is fetched
        stamp.unlink()
    else:
        if folder.exists():
            shutil.rmtree(folder)
        venv.create(folder, with_pip=True)
    env = dict(os.environ)
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    if name == "llama":
        env["CMAKE_ARGS"] = "-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF"
        # A wheel from elsewhere would not be built for this machine.
        command += ["--no-binary", "llama-cpp-python"]
    command += ["-r", str(HERE / f"requirements-{name}.txt")]
    subprocess.run(command, env=env, check=True, stdout=sys.stderr, cwd=folder)
    stamp.write_text(wanted)
    return python


if __name__ == "__main__":
    if sys.argv[1:] not in (["attention"], ["llama"]):
        sys.exit(__doc__)
    print(install(sys.argv[1]))
