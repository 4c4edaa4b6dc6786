"""Typed errors and their exit codes.

Every error says which file, field or key is wrong, what was found, what was expected, and the fix.
Exit codes follow sysexits.h, so that a scheduler can tell bad input (65, 66, 74, 78) from a crash (1), and both from a run that was
asked to stop and can go on (75).
"""


class NpoError(Exception):
    """Base of every error that a user can mend."""

    exit_code = 70
    label = "error"  # what its line begins with


class ConfigError(NpoError):
    """A key, value or combination of the configuration is wrong."""

    exit_code = 78


class DataError(NpoError):
    """A dataset, a problem or a schedule that a user wrote is wrong."""

    exit_code = 65


class ArtifactError(NpoError):
    """A file that an earlier stage should have left is missing, damaged, or of another run."""

    exit_code = 66


class StorageError(NpoError):
    """The disk refused: full, read-only, or without permission."""

    exit_code = 74


class Interrupted(NpoError):
    """A signal asked a run to stop: it saved its state, and the same command goes on from there. A failure to try again, not a crash."""

    exit_code = 75
    label = "stopped"


class LockedError(NpoError):
    """Another process is writing to the folder: a failure to try again later."""

    exit_code = 75


class PeerError(NpoError):
    """Another process of a run over many is gone: what it says, or its signal, is the reason. A failure to try again."""

    exit_code = 71
    label = "stopped"


class NumericalError(NpoError):
    """A loss, gradient or log-probability is no longer finite, or the engine's log-probs are not the policy's."""

    exit_code = 76


CANNOT_HEAL = frozenset(error.exit_code for error in (ConfigError, DataError, ArtifactError, NumericalError))  # another try ends alike
