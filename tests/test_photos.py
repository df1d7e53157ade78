"""benchmarks/photos.py: folders of pictures that are counted, or refused; pictures of no digit."""

import no_digit_kinds
import numpy as np
import photos
import pictures
import pytest
from PIL import Image, ImageDraw, ImageFont


def save_digit(digit, path):
    path.parent.mkdir(exist_ok=True)
    image = Image.new("L", (90, 90), 255)
    writing = ImageFont.truetype(str(pictures.FONTS / "DejaVuSans.ttf"), 60)
    ImageDraw.Draw(image).text((45, 45), digit, fill=0, font=writing, anchor="mm")
    image.save(path)


def test_a_folder_of_pictures_is_counted(tmp_path, capsys):
    save_digit("3", tmp_path / "pen" / "3_anna.png")
    save_digit("3", tmp_path / "pen" / "8_wrong.png")
    save_digit("17", tmp_path / "page" / "several_page.png")
    (tmp_path / "pen" / "5_broken.jpg").write_bytes(b"no image")
    failed = tmp_path / "failed.png"
    photos.main(["--folder", str(tmp_path), "--picture", str(failed)])
    out = capsys.readouterr().out
    counts = {line.split(" | ")[0][2:]: line.split(" | ")[1:3] for line in out.splitlines()[2:5]}
    assert counts == {"page": ["1", "100.0"], "pen": ["3", "33.3"], "all": ["4", "50.0"]}
    assert [line.split(" | ")[:3] for line in out.splitlines()[8:11]] == [
        ["| 3", "1", "100.0"],
        ["| 8", "1", "0.0"],
        ["| all", "2", "50.0"],
    ]
    assert "8_wrong.png: 3 (" in out
    assert "5_broken.jpg: cannot identify" in out
    with Image.open(failed) as image:
        assert min(image.size) > 100


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("anna_3.png", "anna_3.png: expected a name like 7_anna.jpg"),
        ("12_anna.png", "12_anna.png: expected a name like 7_anna.jpg"),
        ("3_anna.txt", "expected pictures"),
        (None, "expected a folder of pictures, got"),
    ],
)
def test_a_folder_that_cannot_be_counted(tmp_path, name, message):
    folder = tmp_path / "pictures"
    if name:
        save_digit("3", folder / "3_anna.png")
        (folder / "3_anna.png").rename(folder / name)
    with pytest.raises(SystemExit, match=message):
        photos.main(["--folder", str(folder)])


@pytest.mark.parametrize("kind", no_digit_kinds.MADE, ids=lambda kind: kind.__name__)
def test_pictures_without_a_digit_are_made_again(kind):
    first, again = (kind(None, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, again)
