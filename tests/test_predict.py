"""Image files through predict.py: MNIST's form, digits drawn in many ways, and files that fail."""

import io
import itertools
import re
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image, ImageDraw, ImageFilter, ImageFont

import hubconf
import predict
import utils
from photo import find
from photo.shades import shades_of, without_border
from recipes import normalised

FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")
STYLES = [  # font, height of the image, size of the digit, place, paper, ink
    ("DejaVuSans.ttf", (60, 60), 40, (20, 8), 255, 0),
    ("DejaVuSans-Bold.ttf", (200, 300), 90, (180, 70), 255, 40),
    ("DejaVuSans-Oblique.ttf", (120, 120), 100, (30, 0), 0, 255),
    ("DejaVuSerif.ttf", (90, 90), 60, (10, 15), 20, 230),
    ("DejaVuSerif-Bold.ttf", (500, 400), 300, (100, 60), 200, 30),
    ("DejaVuSansMono.ttf", (40, 40), 30, (12, 2), 245, 60),
    ("STIXGeneral.ttf", (128, 128), 90, (5, 5), 255, 0),
    ("STIXGeneralItalic.ttf", (256, 200), 120, (20, 90), 60, 250),
    ("cmr10.ttf", (150, 150), 120, (60, 10), 255, 10),
    ("cmss10.ttf", (80, 300), 60, (200, 10), 10, 220),
]


NET = predict.network()


def found_in(image):
    """Return the digits of an image, however many."""
    return predict.digits_in(NET, image, split=True)


def seen_in(image):
    """Return what the network saw of an image of one digit, uint8 tensor (28, 28)."""
    (digit,) = predict.digits_in(NET, image)
    return torch.from_numpy(digit.seen)


def read(image):
    """Return the digit of an image and its probability; None and 0 for one that is refused."""
    try:
        (digit,) = predict.digits_in(NET, image)
    except ValueError:
        return None, 0
    return int(digit.probabilities.argmax()), float(digit.probabilities.max())


def drawn(digit, font, size, points, place, paper, ink):
    """Draw a digit: image size (height, width), font size in points, place (x, y)."""
    image = Image.new("L", size[::-1], paper)
    writing = ImageFont.truetype(str(FONTS / font), points)
    ImageDraw.Draw(image).text(place, str(digit), fill=ink, font=writing)
    return image


def save(image, path):
    image.save(path)
    return path


@pytest.mark.parametrize(
    ("every", "mistakes"), [(4, 1), pytest.param(1, 5, marks=pytest.mark.long)]
)
def test_at_least_95_per_cent_of_drawn_digits(every, mistakes, tmp_path, capsys):
    wanted = [
        (digit, (number, style))
        for digit, (number, style) in itertools.product(range(10), enumerate(STYLES))
        if (digit + number) % every == 0
    ]
    files = [
        save(drawn(digit, *style), tmp_path / f"{digit}-{number}.png")
        for digit, (number, style) in wanted
    ]
    assert predict.main([str(path) for path in files]) == 0
    read = re.findall(r"(\d)-(\d)\.png: (\d) \(\d+\.\d %\)", capsys.readouterr().out, re.M)
    assert len(read) == 100 // every
    wrong = [
        f"{truth} as {digit} in {STYLES[int(n)][0]}" for truth, n, digit in read if truth != digit
    ]
    assert len(wrong) <= mistakes, wrong


def test_a_digit_of_mnist_comes_back_as_it_was(small_root):
    *_, test = utils.data_loader(normalised(), normalised(), 64, root=small_root, device="cpu")
    differences = []
    for digit in test.data[:15]:
        large = Image.fromarray(digit.numpy()).resize((280, 280), Image.Resampling.BICUBIC)
        paper = Image.new("L", (700, 500), 240)
        paper.paste(large.point(lambda ink: 240 - ink * 220 // 255), (130, 90))
        again = seen_in(paper).float()
        differences.append((again - digit.float()).abs().mean().item())
    assert np.median(differences) < 8  # of 255: the size of the box was rounded, the ink filled


@pytest.mark.parametrize("turn", [lambda image: image, lambda image: image.transpose(0)])
def test_the_form(turn):
    digit = seen_in(turn(drawn(8, *STYLES[1])))
    assert (digit.shape, digit.dtype) == ((28, 28), torch.uint8)
    rows, columns = digit.nonzero().unbind(dim=1)
    assert max(rows.max() - rows.min(), columns.max() - columns.min()) + 1 == 20
    weights = digit.double() / digit.sum()
    from_14 = torch.arange(28.0).double() - 14
    assert abs(weights.sum(dim=1) @ from_14) <= 0.51
    assert abs(weights.sum(dim=0) @ from_14) <= 0.51


def test_mnist_s_own_digits_have_their_centre_there(small_root):
    train = utils.data_loader(normalised(), normalised(), 64, root=small_root, device="cpu")[1]
    weights = train.data.double() / train.data.double().sum(dim=(1, 2), keepdim=True)
    for side in (1, 2):
        centres = weights.sum(dim=side) @ torch.arange(28.0).double()
        assert abs(centres.mean() - 14) < 0.05
        assert (centres - 14).abs().quantile(0.95) < 0.51


def test_polarity_makes_no_difference():
    dark = drawn(5, "DejaVuSans.ttf", (100, 100), 70, (20, 5), 255, 0)
    light = dark.point(lambda shade: 255 - shade)
    assert torch.equal(seen_in(dark), seen_in(light))


def forms_of(image):
    """Yield one drawing, dark on light, in the modes that image files come in."""
    for mode in ("L", "RGB", "CMYK", "P", "I", "F", "1"):
        yield mode, image.convert(mode)
    yield "I;16", Image.fromarray(np.asarray(image, dtype=np.uint16) * 257)
    for ink in (0, 255):  # on nothing
        clear = Image.new("RGBA", image.size, (ink, ink, ink, 0))
        clear.putalpha(image.point(lambda shade: 255 - shade))
        yield f"alpha, ink {ink}", clear


def test_every_mode_is_read_alike():
    image = drawn(4, "DejaVuSans.ttf", (100, 100), 70, (20, 5), 255, 0)
    expected = seen_in(image).float()
    for mode, other in forms_of(image):
        difference = (seen_in(other).float() - expected).abs().mean()
        assert difference < 6, (mode, difference)


def test_uneven_paper_and_noise():
    image = np.asarray(drawn(3, "DejaVuSans.ttf", (200, 200), 140, (50, 10), 220, 50), dtype=float)
    light = np.linspace(0, -25, 200)[None] + np.random.default_rng(0).normal(0, 6, (200, 200))
    photo = Image.fromarray(np.clip(image + light, 0, 255).astype(np.uint8))
    assert read(photo)[0] == 3


def test_a_photo_that_the_camera_turned():
    upright = drawn(7, "DejaVuSans.ttf", (120, 80), 70, (15, 15), 255, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    file = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(file, "png", exif=exif)
    turned = Image.open(file)
    assert torch.equal(seen_in(turned), seen_in(upright))


def test_files_that_fail_do_not_stop_the_rest(tmp_path, capsys):
    good = save(drawn(8, *STYLES[0]), tmp_path / "good.png")
    blank = save(Image.new("L", (50, 50), 255), tmp_path / "blank.png")
    (tmp_path / "text.png").write_text("no image")
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:200])
    files = [blank, tmp_path / "text.png", tmp_path / "missing.png", tmp_path, cut, good]
    picture = tmp_path / "seen.png"
    assert predict.main([*map(str, files), "--picture", str(picture)]) == 2
    out, err = capsys.readouterr()
    assert re.fullmatch(r".*good\.png: 8 \(\d+\.\d %\), or \d \(\d+\.\d %\).*\n", out)
    lines = err.splitlines()
    assert len(lines) == 5
    for line, path, reason in zip(
        lines,
        files,
        ("got an image of one shade", "cannot identify", "No such file", "directory", "truncated"),
        strict=False,
    ):
        assert line.startswith(f"predict.py: error: {path}: ")
        assert reason in line
    with Image.open(picture) as seen:
        assert min(seen.size) > 50


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (1, 400), (28, 28)])
def test_small_images(size):
    with pytest.raises(ValueError, match="one shade"):
        seen_in(Image.new("L", size, 7))
    image = Image.new("L", size, 255)
    image.putpixel((size[0] // 2, size[1] // 2), 0)
    with pytest.raises(ValueError, match="expected a digit"):
        seen_in(image)


def test_an_image_too_large_to_be_true(tmp_path, capsys, monkeypatch):
    path = save(drawn(1, *STYLES[1]), tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    assert predict.main([str(path)]) == 2
    assert "large.png" in capsys.readouterr().err


def test_shades_beyond_eight_bits():
    digit = np.asarray(drawn(2, "DejaVuSans.ttf", (100, 100), 70, (20, 5), 255, 0), dtype=float)
    expected = seen_in(Image.fromarray(digit.astype(np.uint8))).float()
    levels = (20_000 + 30_000 * digit / 255).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "tiff")
    small = Image.fromarray((digit / 25_500).astype(np.float32))  # on [0, 0.01]
    for image in (Image.fromarray(levels), Image.open(file), small):
        assert (seen_in(image).float() - expected).abs().mean() < 3


def test_a_picture_of_more_than_eight_bits_is_scaled(tmp_path):
    shades = np.asarray(drawn(7, *STYLES[1]), dtype=np.uint16) * 200
    (reading,) = predict.read_file(NET, save(Image.fromarray(shades), tmp_path / "deep.png"))
    low, high = reading.picture.convert("L").getextrema()
    assert low < 60
    assert high > 200


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_shades_that_are_no_numbers(value):
    shades = np.zeros((30, 30), dtype=np.float32)
    shades[10, 10] = value
    with pytest.raises(ValueError, match="NaN or infinity"):
        seen_in(Image.fromarray(shades))


def test_specks_are_no_digit():
    image = Image.new("L", (900, 900), 255)
    image.putpixel((3, 3), 0)
    image.putpixel((890, 890), 0)
    with pytest.raises(ValueError, match="expected a digit"):
        seen_in(image)


@pytest.mark.parametrize("digit", range(2, 10))
@pytest.mark.parametrize("across", [True, False])
def test_halves_of_a_digit_belong_together(digit, across):
    shades = np.array(drawn(digit, "DejaVuSerif.ttf", (500, 400), 300, (100, 60), 230, 30))
    dark = np.argwhere(shades < 100).mean(axis=0).astype(int)[0 if across else 1]
    gap = np.s_[dark - 3 : dark + 3]
    shades[gap if across else np.s_[:, gap]] = 230
    assert len(found_in(Image.fromarray(shades))) == 1


@pytest.mark.parametrize("width", [20, 40, 60])
def test_thick_strokes_are_found_whole(width):
    image = Image.new("L", (300, 300), 240)
    points = [(95, 75), (205, 75), (135, 230)]  # a 7
    ImageDraw.Draw(image).line(points, fill=20, width=width, joint="curve")
    ink = np.asarray(image) < 128
    left, top, right, bottom = found_in(image)[0].box
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    expected = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert np.abs(np.array([left, top, right, bottom]) * 300 - expected).max() < 4


def test_a_large_photo_is_reduced():
    image = drawn(6, "DejaVuSans.ttf", (3000, 4000), 2000, (1500, 300), 230, 30)
    (digit,) = found_in(image)
    assert digit.probabilities.argmax() == 6


def test_names_that_look_like_formulas(tmp_path, capsys):
    path = save(drawn(1, *STYLES[0]), tmp_path / "a$b_$_{.png")
    assert predict.main([str(path), "--picture", str(tmp_path / "seen.png")]) == 0


def test_without_weights(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(hubconf, "_METADATA", tmp_path / "metadata.json")
    assert predict.main(["a.png"]) == 2
    assert "metadata.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["no/seen.png", "seen", "seen.txt", "", "here", "one.png", "link.png"]
)
def test_a_picture_that_must_not_be_written(tmp_path, capsys, name):
    path = save(drawn(1, *STYLES[0]), tmp_path / "one.png")
    (tmp_path / "here").mkdir()
    (tmp_path / "link.png").symlink_to(path)
    content = path.read_bytes()
    assert predict.main([str(path), "--picture", str(tmp_path / name)]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert path.read_bytes() == content


def test_a_picture_replaces_an_earlier_one_and_nothing_else(tmp_path, capsys):
    one = save(drawn(1, *STYLES[0]), tmp_path / "one.png")
    other = save(drawn(2, *STYLES[0]), tmp_path / "other.png")
    seen = tmp_path / "seen.png"
    for _ in range(2):
        assert predict.main([str(one), "--picture", str(seen)]) == 0
    earlier, content = seen.read_bytes(), other.read_bytes()
    assert predict.main([str(one), str(seen), "--picture", str(seen)]) == 2
    assert predict.main([str(one), "--picture", str(other)]) == 2
    assert (seen.read_bytes(), other.read_bytes()) == (earlier, content)


def texts_of(figure):
    """Return the boxes of a figure's titles, as they are drawn."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    return [axes.title.get_window_extent(renderer) for axes in figure.axes if axes.get_title()]


def test_long_names_do_not_overlap(tmp_path):
    readings = []
    for number in range(5):
        name = f"{number} " + "a very long name of a photograph " * 5 + ".png"
        readings += predict.read_file(NET, save(drawn(number, *STYLES[1]), tmp_path / name))
    boxes = texts_of(predict.picture_of(readings))
    assert len(boxes) == 10
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def four_digits():
    page = Image.new("L", (500, 150), 240)
    for place, digit in enumerate((3, 1, 4, 7)):
        writing = ImageFont.truetype(str(FONTS / "DejaVuSans.ttf"), 90)
        ImageDraw.Draw(page).text((30 + 120 * place, 20), str(digit), fill=30, font=writing)
    return page


def test_several_digits_are_refused_or_split(tmp_path, capsys):
    path = save(four_digits(), tmp_path / "four.png")
    assert predict.main([str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "found 4 digits: one per image, or --split" in err
    assert predict.main([str(path), "--split", "--picture", str(tmp_path / "seen.png")]) == 0
    assert re.findall(r"digit \d of 4: (\d) ", capsys.readouterr().out) == ["3", "1", "4", "7"]


def test_a_page_of_small_digits_is_read_row_by_row():
    page = Image.new("L", (1400, 1000), 240)
    draw, writing = ImageDraw.Draw(page), ImageFont.truetype(str(FONTS / "DejaVuSans.ttf"), 28)
    rows = ["31415926535897", "27182818284590", "16180339887498", "57721566490153"]
    for row, digits in enumerate(rows):
        for place, digit in enumerate(digits):
            draw.text((100 + 80 * place, 150 + 180 * row), digit, fill=30, font=writing)
    found = "".join(str(digit.probabilities.argmax()) for digit in found_in(page))
    assert found == "".join(rows)


def test_weights_of_a_run(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    torch.save(hubconf.net5(pretrained=True).state_dict(), run / "weights.pt")
    path = save(drawn(8, *STYLES[1]), tmp_path / "eight.png")
    for settings in (None, "{}", "[1]", "no JSON", '{"net": "net9"}', '{"net": "net1"}'):
        if settings is not None:
            (run / "settings.json").write_text(settings)
        assert predict.main([str(path), "--weights", str(run)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    (run / "settings.json").write_text('{"net": "net5"}')
    for given in (run, run / "weights.pt"):
        assert predict.main([str(path), "--weights", str(given)]) == 0
        assert "eight.png: 8 (" in capsys.readouterr().out
    (run / "weights.pt").write_bytes(b"no weights")
    assert predict.main([str(path), "--weights", str(run)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_names_that_a_terminal_cannot_print(tmp_path, capsys, monkeypatch):
    names = ["\udcff.png", "a\nb.png", "\u4e03.png"]
    files = [save(drawn(7, *STYLES[1]), tmp_path / name) for name in names]
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    seen = tmp_path / "seen.png"
    assert predict.main([*map(str, files), "--picture", str(seen)]) == 0
    sys.stdout.flush()
    lines = sys.stdout.buffer.getvalue().decode("ascii").splitlines()
    assert [line.rpartition(".png: ")[2][0] for line in lines] == ["7", "7", "7"]


def test_a_heic_file_has_a_hint(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "photo.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    assert predict.main([str(path)]) == 2
    assert "pillow-heif" in capsys.readouterr().err


def test_a_home_folder_in_paths(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save(drawn(7, *STYLES[1]), tmp_path / "seven.png")
    assert predict.main(["~/seven.png", "--picture", "~/seen.png"]) == 0
    assert (tmp_path / "seen.png").exists()


@pytest.mark.parametrize("device, dtype", [("meta", torch.float32), ("cpu", torch.float64)])
def test_other_defaults_of_torch(tmp_path, capsys, device, dtype):
    path = save(drawn(7, *STYLES[1]), tmp_path / "seven.png")
    torch.set_default_device(device)
    torch.set_default_dtype(dtype)
    try:
        assert predict.main([str(path)]) == 0
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    assert "seven.png: 7 (" in capsys.readouterr().out


def test_a_doubtful_answer_is_marked(tmp_path):
    path = save(drawn(7, *STYLES[1]), tmp_path / "seven.png")
    (reading,) = predict.read_file(NET, path)
    (digit, probability), (_, less) = reading.guesses[:2]
    assert digit == 7
    assert probability >= less
    assert "doubtful" not in str(reading)
    assert "doubtful" in str(reading._replace(guesses=[(7, 0.5), (1, 0.4)]))


def test_a_shadow_is_no_digit():
    y, x = np.mgrid[0:300, 0:400]
    for light in (1 - 0.5 * x / 400, 1 - 0.4 * np.clip((x + y - 300) / 60, 0, 1)):
        page = Image.fromarray((230 * light).astype(np.uint8))
        with pytest.raises(ValueError, match="expected a digit"):
            seen_in(page)


def test_a_vignette_in_coloured_noise_is_no_digit():
    rng = np.random.default_rng(25)
    y, x = np.mgrid[0:600, 0:800]
    light = 1 / (1 + ((x - 270) / 420) ** 2 + ((y - 180) / 420) ** 2)
    shades = np.array([250, 225, 110]) * light[..., None] + rng.normal(0, 6, (600, 800, 3))
    assert read(Image.fromarray(shades.clip(0, 255).astype(np.uint8)))[0] is None


# --- Faults that were seen in pictures of other people --------------------------------------------


def strokes_on(size, *strokes, width, paper=255, ink=0, blur=0.0):
    """Draw strokes, lists of points, on a picture of (width, height), edges smooth."""
    image = Image.new("L", (4 * size[0], 4 * size[1]), paper)
    draw = ImageDraw.Draw(image)
    for stroke in strokes:
        points = [(4 * x, 4 * y) for x, y in stroke]
        draw.line(points, fill=ink, width=round(4 * width), joint="curve")
        for x, y in points:
            r = 2 * width - 0.5
            draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)
    image = image.resize(size, Image.Resampling.BOX)
    return image.filter(ImageFilter.GaussianBlur(blur)) if blur else image


def arc(x, y, wide, high, start, end):
    """Return points of an ellipse's arc, angles in degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, end, 24))
    return list(zip(x + wide * np.cos(angles), y + high * np.sin(angles), strict=True))


THREE = arc(200, 175, 62, 75, -160, 90) + arc(200, 328, 75, 78, -90, 160)


def test_soft_edges():
    grey, blue = (164, 159, 156), (82, 92, 128)
    coverage = strokes_on((420, 500), THREE, width=28, paper=0, ink=255, blur=3)
    photo = Image.composite(
        Image.new("RGB", (420, 500), blue), Image.new("RGB", (420, 500), grey), coverage
    )
    assert read(photo)[0] == 3


@pytest.mark.parametrize("turn", [lambda shade: shade, lambda shade: 255 - shade])
def test_a_bold_digit_on_28_pixels_is_not_read_by_its_holes(turn):
    rings = arc(14, 9, 4, 4, 0, 360), arc(14, 19, 5.5, 5, 0, 360)
    assert read(strokes_on((28, 28), *rings, width=6).point(turn))[0] == 8


@pytest.mark.parametrize("gap", [60, 12, 0, -6])  # between digit and frame; the last ones touch
def test_a_frame_is_no_part_of_the_digit(gap):
    left, top, right, bottom = 120 - gap, 100 - gap, 282 + gap, 412 + gap
    frame = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    image = strokes_on((420, 500), THREE, frame, width=14)
    assert read(image)[0] == 3


def ring(x, y, radius):
    return arc(x, y, radius, radius, 0, 360)


def test_a_circle_around_a_digit_is_a_frame_and_a_slashed_zero_is_a_zero():
    seven = [(160, 130), (240, 130), (185, 270)]
    assert read(strokes_on((400, 400), seven, ring(200, 200, 150), width=12))[0] == 7
    slash = [(165, 260), (235, 140)]
    assert read(strokes_on((400, 400), slash, arc(200, 200, 90, 150, 0, 360), width=14))[0] == 0


def test_a_neighbour_cut_off_by_the_border_is_no_second_digit():
    six = [(225, 130), (170, 180), (150, 240), *arc(200, 240, 50, 45, 180, 540)]
    neighbour = [(190, -30), (170, 40)]
    assert read(strokes_on((400, 400), six, neighbour, width=14))[0] == 6


def test_a_border_that_a_scanner_left():
    page = strokes_on((400, 300), arc(320, 200, 25, 40, 0, 360), width=9, paper=235)
    scan = Image.new("L", (400, 300), 8)
    scan.paste(page.crop((5, 9, 385, 292)), (5, 9))
    assert read(scan)[0] == 0


def test_the_bar_of_a_seven_is_no_border():
    seven = shades_of(strokes_on((60, 90), [(0, 4), (56, 4), (25, 90)], width=9))
    assert np.array_equal(without_border(seven), seven)


def test_a_face_is_no_sure_zero():
    eyes = [[(170, 150), (170, 170)], [(230, 150), (230, 170)]]
    mouth = arc(200, 200, 60, 50, 20, 160)
    assert read(strokes_on((400, 400), ring(200, 200, 110), *eyes, mouth, width=16))[1] < 0.9


def test_a_digit_beside_a_blot():
    image = strokes_on((700, 500), THREE, width=14)
    ImageDraw.Draw(image).ellipse((560, 200, 640, 280), fill=0)

    def judge(seen):
        is_blot = (seen > 127).mean(axis=(1, 2)) > 0.3
        return np.where(is_blot[:, None], [0.4, *[0] * 9, 0.6], [0, 0, 0, 0.99, *[0] * 6, 0.01])

    (digit,) = find.find_digits(image, judge)
    assert digit.probabilities.argmax() == 3


def test_what_the_border_cuts_is_doubtful():
    seven = [(0, 130), (100, 130), (45, 270)]
    digit, probability = read(strokes_on((400, 400), seven, width=20))
    assert digit == 7
    assert probability < predict.DOUBTFUL


def test_a_tiny_digit_is_read_but_a_tiny_tick_is_not():
    seven = [(185, 190), (205, 190), (192, 220)]
    assert read(strokes_on((400, 400), seven, width=4))[0] == 7
    with pytest.raises(ValueError, match="tiny mark"):
        predict.digits_in(NET, strokes_on((400, 400), [(200, 190), (195, 220)], width=4))


def test_a_second_digit_that_touches_the_border_counts():
    one = [(40, 80), (70, 50), (70, 150)]
    two = [*arc(135, 75, 28, 25, -160, 30), (110, 150), (170, 145)]
    with pytest.raises(ValueError, match="found 2 digits"):
        predict.digits_in(NET, strokes_on((170, 200), one, two, width=12))


def test_parts_of_an_open_four_are_no_two_digits():
    body, stem = [(150, 90), (140, 215), (250, 205)], [(255, 150), (245, 330)]
    page = strokes_on((420, 420), body, stem, width=7)
    for y in range(30, 420, 60):
        ImageDraw.Draw(page).line((0, y, 420, y - 8), fill=175, width=3)
    assert read(page)[0] == 4


def test_an_empty_frame_and_the_edge_of_a_desk_are_no_digit():
    frame = [(100, 100), (300, 100), (300, 300), (100, 300), (100, 100)]
    assert read(strokes_on((400, 400), frame, width=8))[1] < 0.9
    desk = Image.new("L", (400, 300), 230)
    desk.paste(70, (0, 250, 400, 300))
    desk.paste(70, (0, 0, 60, 300))
    assert read(desk)[1] < 0.9


@pytest.mark.parametrize(
    ("digit", "strokes"),
    [
        (1, ([(60, 80), (100, 40), (100, 205)], [(50, 228), (150, 228)])),  # a foot below
        (5, ([(85, 50), (78, 115), *arc(98, 165, 50, 50, -110, 130)], [(100, 42), (165, 38)])),
        (4, ([(85, 40), (50, 150), (108, 150)], [(130, 90), (130, 240)])),
    ],
)
def test_strokes_that_do_not_touch(digit, strokes):
    assert read(strokes_on((220, 280), *strokes, width=14))[0] == digit


def test_a_dot_is_no_digit():
    image = Image.new("L", (200, 200), 255)
    ImageDraw.Draw(image).ellipse((80, 80, 120, 120), fill=0)
    assert read(image)[1] < 0.9


@pytest.mark.parametrize("text", ["17", "12", "30"])
@pytest.mark.parametrize("side", [28, 200])
def test_two_digits_are_refused(text, side):
    image = Image.new("L", (side, side), 255)
    font = ImageFont.truetype(str(FONTS / "DejaVuSans.ttf"), round(0.6 * side))
    ImageDraw.Draw(image).text((side / 2, side / 2), text, fill=0, font=font, anchor="mm")
    with pytest.raises(ValueError, match=r"expected a digit|found 2 digits"):
        predict.digits_in(NET, image)


@pytest.mark.parametrize("size", [(28, 28), (120, 200), (300, 600)])
def test_a_stem_that_fills_the_height(size):
    x = size[0] // 2
    image = strokes_on(size, [(x, -9), (x, size[1] + 9)], width=max(3, size[1] / 12))
    assert read(image)[0] == 1


def test_rows_of_digits_are_read_row_by_row():
    page = Image.new("L", (420, 300), 240)
    writing = ImageFont.truetype(str(FONTS / "DejaVuSans.ttf"), 70)
    for row, digits in enumerate(("2746", "358", "0291")):
        for column, digit in enumerate(digits):
            place = 30 + 95 * column, 10 + 95 * row + 4 * column
            ImageDraw.Draw(page).text(place, digit, fill=30, font=writing)
    assert "".join(str(digit.probabilities.argmax()) for digit in found_in(page)) == "27463580291"


def test_a_page_of_a_thousand_marks_is_refused_with_a_reason():
    page = Image.new("L", (700, 1000), 250)
    writing = ImageFont.truetype(str(FONTS / "DejaVuSans.ttf"), 14)
    for row, column in itertools.product(range(46), range(26)):
        place = 25 * column + 20, 21 * row + 10
        ImageDraw.Draw(page).text(place, str(row * column % 10), fill=60, font=writing)
    with pytest.raises(ValueError, match="marks, too many for one picture"):
        found_in(page)
