"""What a run measured, epoch by epoch."""

import json
import re
from dataclasses import asdict, dataclass, field

from checkpoints import file_path, write_atomically

TARGET = 99.4  # per cent: what the exercise asks for


@dataclass
class History:
    """Figures of a run, a float per epoch; `learning_rate` is that of the epoch's first batch.

    `val_*` stay empty without a validation set, `test_*` without a test set.
    """

    source: str = "unknown"
    train_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __len__(self):
        return len(self.train_loss)

    def append(self, train, test, learning_rate, seconds, val=None):
        """Add an epoch: its Metrics (`test` and `val` may be None), learning rate and duration."""
        for name, metrics in (("train", train), ("val", val), ("test", test)):
            if metrics is not None:
                getattr(self, f"{name}_loss").append(metrics.loss)
                getattr(self, f"{name}_accuracy").append(metrics.accuracy)
        self.learning_rate.append(learning_rate)
        self.seconds.append(seconds)

    @property
    def split(self):
        """What the run reports: "test", or "validation" if no test set was evaluated."""
        return "test" if self.test_loss or not self.val_loss else "validation"

    @property
    def loss(self):
        """The loss on the split that the run reports, for each epoch."""
        return self.test_loss if self.split == "test" else self.val_loss

    @property
    def accuracy(self):
        """The accuracy on the split that the run reports, for each epoch."""
        return self.test_accuracy if self.split == "test" else self.val_accuracy

    @property
    def best_epoch(self):
        """The first epoch, counted from 1, with the highest accuracy."""
        return 1 + self.accuracy.index(max(self.accuracy))

    @property
    def data_set(self):
        """The name of a data set other than MNIST, else ""."""
        return "" if self.source in ("full", "sample", "unknown") else self.source

    @property
    def mark(self):
        """The mark after figures: " (sample)", " (FashionMNIST)"; "" for full MNIST."""
        return "" if self.source in ("full", "unknown") else f" ({self.source})"

    @property
    def suffix(self):
        """The data set in file names, such as "-EMNIST-balanced"; "" for MNIST."""
        return re.sub(r"[^\w.]+", "-", f"-{self.data_set}") if self.data_set else ""

    def save(self, path):
        """Write the history as JSON, atomically."""
        write_atomically(path, json.dumps(asdict(self), indent=1).encode() + b"\n")

    @classmethod
    def load(cls, path):
        """Read what `save` wrote."""
        return cls(**json.loads(file_path(path).read_text()))


def epoch_line(history, epochs):
    """Return the line that an epoch prints, of at most 80 columns; seconds only for full MNIST."""

    def part(name):
        loss, accuracy = (getattr(history, f"{name}_{what}")[-1] for what in ("loss", "accuracy"))
        return f"{name} {loss:.{4 if loss < 10 else 0}f} {accuracy:.2f}%"

    mark = " (sample)" if history.source == "sample" else ""
    line = f"Epoch {len(history):2}/{epochs}: "
    if history.val_loss and history.test_loss:
        train = f"train {history.train_accuracy[-1]:.2f}%"
        return f"{line}{train}, {part('val')}, {part('test')}{mark}"
    line += f"{part('train')}, {part('test' if history.test_loss else 'val')}{mark}"
    line += f", lr {history.learning_rate[-1]:.2g}"
    return line if mark else f"{line}, {history.seconds[-1]:.0f} s"
