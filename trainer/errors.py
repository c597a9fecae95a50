"""Operational errors of the trainer: each one is a single line for the person who asked, and an exit code for the caller."""


class TrainerError(Exception):
    """Something the user can put right: a wrong path, a full version folder, a graph that is not equal to its model."""

    exit_code = 1


class InputError(TrainerError):
    """The arguments or the files they name cannot be used."""

    exit_code = 2


class ParityError(TrainerError):
    """The exported graph does not give the embeddings of the PyTorch model; nothing was published."""

    exit_code = 3
