"""Where the project's own files lie, in a clone and in an installed package, and the configuration files that a user adds."""

from pathlib import Path

from npo_pipeline.errors import ConfigError

_PACKAGED = Path(__file__).resolve().parents[1] / "project"  # a wheel holds Snakefile, workflow/, conf/ and data/ there
PROJECT = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).resolve().parents[2]
CONF = PROJECT / "conf"


def choices(conf: Path, group: str) -> list[str]:
    """What may be chosen of a group of conf/: its own files, and those of the working directory's conf/."""
    return sorted({file.stem for folder in (conf, *own_conf(conf)) for file in (folder / group).glob("*.yaml")})


def own_conf(conf: Path) -> list[Path]:
    """conf/ of the working directory, if that is another one. Raises ConfigError if a file of it would be mistaken for a shipped one."""
    own = Path.cwd() / "conf"
    if not own.is_dir() or own.samefile(conf):
        return []
    for file in sorted(own.glob("*/*.yaml")):
        shipped = conf / file.relative_to(own)
        if shipped.is_file() and shipped.read_bytes() != file.read_bytes():
            raise ConfigError(f"{file}: a shipped file has this name too, and says something else; give yours another name")
    return [own]
