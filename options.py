"""The options of the command lines: how they are described, and refused."""

import argparse
from pathlib import Path


def path(text):
    """Return a path with ~ expanded; an error for an empty one, which would be the folder here."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got ''")
    return Path(text).expanduser()


class OneLineParser(argparse.ArgumentParser):
    """Say what is wrong with the options in one line, without the usage before it."""

    def option(self, name, help, **settings):
        """Add an option whose help ends in its default."""
        default = "" if settings.get("default") is None else " (default: %(default)s)"
        self.add_argument(name, help=help + default, **settings)

    def root_option(self):
        """Add the option that says where MNIST is."""
        about = "folder with MNIST/raw/ (default: MNIST_ROOT, data/ or a download)"
        self.option("--root", about, type=path)

    def data_options(self, source):
        """Add where MNIST is, and whether the sample will do; `source` is the default of that."""
        self.root_option()
        self.option(
            "--source",
            "the shipped sample: never (full), always (sample), if there is nothing else (auto)",
            choices=("auto", "full", "sample"),
            default=source,
        )

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")
